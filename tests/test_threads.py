"""A pool of threads that drops waiting jobs after an interruption."""

import threading

import pytest

from mmcl.threads import ThreadPool


def test_waiting_jobs_are_dropped_after_an_interruption():
    begun, left = [], threading.Event()

    def job(number):
        begun.append(number)
        left.wait(0.2)

    with pytest.raises(KeyboardInterrupt), ThreadPool(2) as pool:
        for number in range(100):
            pool.submit(job, number)
        raise KeyboardInterrupt
    assert len(begun) < 100  # those that had begun are awaited


def test_all_jobs_are_done_otherwise():
    with ThreadPool(2) as pool:
        jobs = [pool.submit(lambda number=number: number) for number in range(100)]
    assert [job.result() for job in jobs] == list(range(100))

"""Tests of queues and of numbers per sample."""

from __future__ import annotations

import pytest
import torch
from waits import elsewhere, no_waits

from mmcl.errors import CheckpointError, InputError, LabelError, ShapeError
from mmcl.files.loading import load_state
from mmcl.objectives import Queue, SampleNumbers


def test_a_queue_holds_the_latest_rows():
    queue, pushed = Queue(7), torch.arange(48.0).view(24, 2)
    for start in range(0, 24, 3):
        queue.push(pushed[start : start + 3])
        latest = pushed[max(0, start + 3 - 7) : start + 3]
        held = queue.rows[queue.filled]
        assert sorted(map(tuple, held.tolist())) == sorted(map(tuple, latest.tolist()))


def test_an_empty_queue_has_no_row_that_counts():
    queue = Queue(4)
    assert not queue.filled.any() and not queue.compared(3).dense(torch.zeros(1)).any()
    queue.push(torch.ones(1, 2))
    assert queue.compared(3).dense(torch.zeros(1)).sum(1).tolist() == [1, 1, 1]


def test_a_queue_is_resumed_to_the_last_digit():
    one, other = Queue(5), Queue(5)
    one.push(torch.randn(4, 3))
    load_state(other, one.state_dict(), "the queue")
    rows = torch.randn(3, 3)
    for queue in (one, other):
        queue.push(rows)
    assert torch.equal(one.rows, other.rows) and int(other.count) == 7


def test_a_push_does_not_change_a_snapshot_nor_keep_a_graph():
    queue = Queue(2)
    queue.push(torch.zeros(1, 1))
    held = queue.snapshot()
    queue.push(torch.ones(2, 1, requires_grad=True))
    assert not held.any() and not queue.rows.requires_grad and bool(queue.rows.all())


def test_neither_waits_for_a_device():
    queue, numbers, rows = Queue(5), SampleNumbers(9, average=1.0), torch.tensor([8, 0])
    with no_waits():
        queue.push(torch.ones(2, 3))
        queue.compared(4)
        numbers.write(numbers.places(rows), average=numbers.read("average", rows) + 1)
    assert numbers.average.tolist() == [2, *[1] * 7, 2]


@pytest.mark.parametrize(("rows", "text"), [(torch.ones(6, 3), "queue of 5"), (torch.ones(2, 4), "dim 3")])
def test_rows_that_do_not_fit_a_queue_are_an_error(rows, text):
    queue = Queue(5)
    queue.push(torch.ones(1, 3))
    with pytest.raises(ShapeError, match=text):
        queue.push(rows)


def test_a_queue_of_another_size_is_not_loaded():
    queue = Queue(5)
    queue.push(torch.ones(1, 3))
    with pytest.raises(CheckpointError, match="the queue"):
        load_state(Queue(4), queue.state_dict(), "the queue")


def test_the_state_of_an_unused_queue_is_loaded():
    queue = Queue(5)
    queue.push(torch.ones(1, 3))
    queue.load_state_dict(Queue(5).state_dict())
    assert int(queue.count) == 0
    queue.push(torch.ones(1, 7))


@pytest.mark.parametrize("bad", [[9], [-1], [0, 100]])
def test_an_index_out_of_range_is_an_error_and_reads_nan_where_values_are_not_checked(bad):
    numbers, rows = SampleNumbers(9, average=1.0), torch.tensor(bad)
    with pytest.raises(InputError, match=f"{bad[-1]}, expected 0 to 8"):
        numbers.places(rows)
    with elsewhere():
        assert numbers.read("average", numbers.places(rows)).isnan()[-1]


def test_indices_must_be_one_integer_per_row():
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        SampleNumbers(9).places(torch.tensor([1, 2]), count=3)
    with pytest.raises(LabelError, match="float32"):
        SampleNumbers(9).places(torch.tensor([1.0]))


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "many"])
def test_invalid_sizes_are_an_error(size):
    for make in (lambda: Queue(size), lambda: SampleNumbers(size)):
        with pytest.raises(InputError, match="expected an integer of 1 or more"):
            make()

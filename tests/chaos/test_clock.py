"""Clocks that jump, as they do where a machine sleeps or asks another for the time."""

from __future__ import annotations

import itertools
import os
import time
from datetime import datetime, timedelta

import pytest

from mmcl.runs import environment, folder
from mmcl.runs.run import Run

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

SETTINGS = ["--config", "tiny", "strategy=[replay,coconut]", "seeds=[3]", "epochs=3", "threads=1"]


@pytest.fixture
def jumping(monkeypatch):
    """Every look at the clock shows another day: tomorrow, then a year ago, and so on."""
    days, real = itertools.cycle([1, -365]), time.time

    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=next(days))

    monkeypatch.setattr(time, "time", lambda: real() + 86_400 * next(days))
    monkeypatch.setattr(folder, "datetime", Clock)
    monkeypatch.setattr(environment, "datetime", Clock)


def rows(folder):
    """What was logged, and the times apart from it."""
    found = Run.read(folder).metrics()
    timeless = [{key: row[key] for key in row if key != "seconds"} for row in found]
    return timeless, [row.get("seconds", 0) for row in found]


def test_a_run_ends_the_same_whatever_the_clock_shows(mmcl_, tmp_path, monkeypatch, request):
    monkeypatch.chdir(tmp_path)
    assert mmcl_("run", "slu_incremental", *SETTINGS, "--folder", "usual").code == 0
    request.getfixturevalue("jumping")
    assert mmcl_("run", "slu_incremental", *SETTINGS, "--folder", "jumping").code == 0
    usual, jumped = rows("usual"), rows("jumping")
    assert jumped[0] == usual[0] and all(0 <= seconds < 600 for seconds in jumped[1])
    assert "report.html" in os.listdir("jumping")


def test_a_run_of_tomorrow_is_resumed_today(mmcl_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert mmcl_("run", "slu_incremental", *SETTINGS, "--folder", "run").code == 0
    whole = rows("run")[0]
    # As after a kill in the second strategy: its checkpoint is gone, and every file is from the future.
    os.remove("run/checkpoints/coconut-seed3.safetensors")
    for path in [*Run.read("run").folder.rglob("*")]:
        os.utime(path, (time.time() + 86_400,) * 2)
    assert mmcl_("run", "--resume", "run").code == 0
    assert rows("run")[0] == whole


def test_two_runs_of_one_second_have_a_folder_each(tmp_path, monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2030, 1, 1)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folder, "datetime", Clock)
    from mmcl.config.tasks import load_task

    for _ in range(3):
        Run.create("slu_incremental", load_task("slu_incremental").Config()).close()
    names = sorted(os.listdir("runs/slu_incremental"))
    assert names == [f"synthetic_commands-config-20300101-000000{end}" for end in ("", "-2", "-3")]

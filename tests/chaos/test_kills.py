"""Runs that are killed at random moments, and resumed, end as if nothing had happened."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

KILLS = 50

# Forked from a process that has loaded everything, a run begins within milliseconds, and is killed where it works.
RUNS = """
import os, random, signal, sys, time
from pathlib import Path
import avalanche.training, matplotlib.figure, torch
from mmcl import strategies
from mmcl.cli import main as cli
from mmcl.reports import page as report
from mmcl.encoders import cached_features

torch.set_num_threads(1)
folder, kills = Path(sys.argv[1]), int(sys.argv[2])
SETTINGS = ["strategy=[replay,coconut,icarl]", "seeds=[3]", "epochs=6"]


def start(*arguments):
    child = os.fork()
    if child:
        return child
    sys.argv = ["mmcl", *map(str, arguments)]
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    code = 1
    try:
        cli.main()
    except SystemExit as error:
        code = error.code or 0
    finally:
        os._exit(code)


def finish(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begin(run):
    return start("run", "slu_incremental", "--config", "tiny", "--folder", run, *SETTINGS)


assert finish(begin(folder / "warm")) == 0  # the corpus is spoken, features are cached
began = time.monotonic()
assert finish(begin(folder / "whole")) == 0
duration = time.monotonic() - began
draw = random.Random(0)
for number in range(kills):
    run = folder / f"killed-{number}"
    child = begin(run)
    for again in range(draw.choice([1, 1, 2, 3])):  # killed once, or while it goes on as well
        time.sleep(draw.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        ended = finish(child)
        print(number, again, "killed" if ended == -signal.SIGKILL else "had finished", flush=True)
        known = (run / "config.yaml").exists()
        child = start("run", "--resume", run) if known else begin(run)
    assert finish(child) == 0, run
"""


@pytest.mark.slow
def test_killed_at_any_moment_a_run_ends_with_the_same_metrics(tmp_path: Path) -> None:
    script = tmp_path / "runs.py"
    script.write_text(RUNS)
    command = [sys.executable, "-W", "ignore", str(script), str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    moments = done.stdout.splitlines()
    assert sum(line.endswith("killed") for line in moments) >= KILLS * 0.8, "most were to be killed before their end"
    whole = rows(tmp_path / "whole")
    assert len(whole) > 30
    equal = sum(rows(tmp_path / f"killed-{number}") == whole for number in range(KILLS))
    assert equal == KILLS


def rows(folder: Path) -> list[dict]:
    """What was logged, without the times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]

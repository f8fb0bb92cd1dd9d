"""The task through the command line, as a user runs it: results, resuming, failing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("espeakng_loader", reason="the synthetic corpus needs the extra 'synth'")

COMMAND = [sys.executable, "-W", "ignore", "-m", "mmcl.cli"]
TWO = ["strategy=[replay,coconut]", "seeds=[3]", "epochs=3"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """One cache for all runs here, and one thread, which tiny models are fastest with."""
    return {**os.environ, "MMCL_CACHE": str(tmp_path_factory.mktemp("cache")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def mmcl(environment):
    def _mmcl(*arguments):
        return subprocess.run([*COMMAND, *map(str, arguments)], env=environment, capture_output=True, text=True)

    return _mmcl


@pytest.fixture(scope="module")
def whole(mmcl, tmp_path_factory):
    """A run that was not interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", folder, *TWO)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows(folder):
    """What was logged, without the times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def test_a_run_shows_and_keeps_its_results(whole):
    folder, printed = whole
    assert "coconut" in printed and "replay" in printed and "report.html" in printed
    results = {row["strategy"]: row for row in rows(folder) if row["kind"] == "result"}
    assert results.keys() == {"replay", "coconut"}
    for row in results.values():
        assert 0 <= row["last_accuracy"] <= 1 and 0 <= row["average_accuracy"] <= 1
    epochs = [row for row in rows(folder) if row["kind"] == "epoch" and row["strategy"] == "coconut"]
    assert [(row["experience"], row["epoch"]) for row in epochs] == [(t, e) for t in (0, 1) for e in (1, 2, 3)]
    assert "nspt_audio" in epochs[-1]["losses"] and "nspt_audio" not in epochs[0]["losses"]
    stream = next(row for row in rows(folder) if row["kind"] == "stream")
    assert stream["train_sizes"] == [12, 12] and len(stream["experiences"][0]) == 2
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert "coconut" in (folder / "report.html").read_text()


def killed(environment, folder, lines):
    """Start a run, and kill it once it has logged this many lines."""
    command = [*COMMAND, "run", "slu_incremental", "--config", "tiny", "--folder", str(folder), *TWO]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = folder / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize(
    "lines", [4, pytest.param(1, marks=pytest.mark.slow), pytest.param(13, marks=pytest.mark.slow)]
)
def test_a_killed_run_resumes_to_the_same_metrics(lines, whole, mmcl, environment, tmp_path):
    folder = tmp_path / "killed"
    killed(environment, folder, lines)
    done = mmcl("run", "--resume", folder)
    assert done.returncode == 0, done.stderr
    assert rows(folder) == rows(whole[0])


def test_resuming_a_finished_run_changes_nothing(whole, mmcl):
    folder, _ = whole
    before = (folder / "metrics.jsonl").read_bytes()
    assert mmcl("run", "--resume", folder).returncode == 0
    assert (folder / "metrics.jsonl").read_bytes() == before


def test_a_run_that_fails_says_why_and_can_still_be_read(mmcl, whole, tmp_path):
    folder = tmp_path / "failed"
    tiny = ["run", "slu_incremental", "--config", "tiny", "--folder", folder, "strategy=naive", "seeds=0"]
    failed = mmcl(*tiny, "optimizer.learning_rate=1e30")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "the loss is" in failed.stderr and "lower the learning rate" in failed.stderr
    assert json.loads((folder / "status.json").read_text())["status"].startswith("failed: the loss is")
    compared = mmcl("compare", folder, whole[0], "--output", tmp_path / "both.html")
    assert compared.returncode == 0, compared.stderr
    assert (tmp_path / "both.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["experiences=5"], "experiences is 5 for 4 classes, expected 1 to 4"),
        (["memory_size=3", "strategy=replay"], "memory_size is 3, smaller than the number of classes, 4"),
        (["data.name=barist"], "there is no data set 'barist' (did you mean 'barista'?)"),
        (["encoder.name=cnnn"], "unknown audio encoder 'cnnn' (did you mean 'cnn'?)"),
        (["strategy=cocnut", "epoch=3"], "did you mean 'coconut'?"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(mmcl, settings, message, tmp_path):
    done = mmcl("run", "slu_incremental", "--config", "tiny", "--folder", tmp_path / "run", *settings)
    assert done.returncode in (1, 2) and message in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr


def test_the_real_data_runs_with_the_real_encoder(data_dir, weights_dir, mmcl, tmp_path):
    """Digits of one speaker, five of each to train on: no benchmark, but every part of one."""
    folder = tmp_path / "digits"
    settings = ["data.options={speakers: [george]}", "data.train=[valid]", "strategy=[naive,joint]", "seeds=[0]"]
    done = mmcl(
        "run", "slu_incremental", "--config", "fsdd", "--folder", folder, *settings, "epochs=20", "batch_size=8"
    )
    assert done.returncode == 0, done.stderr
    last = {row["strategy"]: row["last_accuracy"] for row in rows(folder) if row["kind"] == "result"}
    assert last["joint"] > max(0.7, last["naive"] + 0.1)


@pytest.mark.parametrize("config", sorted(path.stem for path in Path("configs/slu_incremental").glob("*.yaml")))
def test_every_config_is_valid(config, mmcl):
    done = mmcl("validate", "slu_incremental", "--config", config)
    assert done.returncode == 0 and "strategy:" in done.stdout, done.stderr

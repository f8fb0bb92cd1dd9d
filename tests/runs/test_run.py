"""The folder of a run: one writer, readable after every failure, and resumed runs equal uninterrupted ones."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from mmcl.config.model import StrictModel
from mmcl.errors import CheckpointError, ConfigError, RunError, TrainingError
from mmcl.runs.checkpoints import previous_path
from mmcl.runs.run import Run


class Config(StrictModel):
    strategy: tuple[str, ...] = ("naive", "replay")
    seeds: tuple[int, ...] = (0, 1)
    epochs: int = 2
    learning_rate: float = 1e-3
    tensorboard: bool = False


CONFIG = Config()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- a new run ---


def test_new_run_has_its_config_and_environment(tmp_path: Path) -> None:
    with Run.create("slu", CONFIG, tmp_path / "run", config_name="demo") as run:
        assert run.status == "running"
        assert (run.task, run.environment["config"], run.environment["seeds"]) == ("slu", "demo", [0, 1])
        assert run.environment["versions"]["torch"]
        assert Config.model_validate(run.config) == CONFIG
        assert run.metrics() == []
        assert (run.folder / "checkpoints").is_dir()
    assert run.status == "finished"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]  # no temporary files


def test_tensorboard_is_enabled_by_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run.create("slu", Config(tensorboard=True), tmp_path / "run") as run:
        run.log("epoch", strategy="naive", seed=0, experience=0, epoch=0, loss=0.5)
    assert len(list(run.folder.glob("tensorboard/naive-seed0/events*"))) == 1
    monkeypatch.setattr("mmcl.runs.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="tensorboard.* pip install"):
        Run.create("slu", Config(tensorboard=True), tmp_path / "other")
    assert not (tmp_path / "other").exists()


# --- metrics ---


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with Run.create("slu", CONFIG, tmp_path / "run") as run:
        yield run


def test_row_is_in_the_file_when_log_returns(run: Run) -> None:
    run.log("epoch", loss=0.1 + 0.2, seed=0)
    run.log("result", accuracy=[0.5, None], losses={"a": torch.tensor(0.25)})
    assert (run.folder / "metrics.jsonl").read_text().count("\n") == 2
    assert run.metrics() == [
        {"kind": "epoch", "loss": 0.1 + 0.2, "seed": 0},
        {"kind": "result", "accuracy": [0.5, None], "losses": {"a": 0.25}},
    ]
    assert [row["kind"] for row in Run.read(run.folder).metrics("result")] == ["result"]


def test_run_opened_for_reading_cannot_be_written(run: Run) -> None:
    reader = Run.read(run.folder)
    for write in (lambda: reader.log("epoch"), lambda: reader.checkpoint("a", {})):
        with pytest.raises(RunError, match="is not open for writing"):
            write()


def test_followed_run_is_written_by_the_main_process_only(run: Run) -> None:
    run.log("epoch", loss=0.5)
    run.checkpoint("naive-0", {"epoch": 1})
    there = contents(run.folder)
    with pytest.raises(Stops), Run.follow(run.folder) as followed:
        followed.log("epoch", loss=0.4)
        followed.checkpoint("naive-0", {"epoch": 2})
        assert followed.restore("naive-0") == {"epoch": 1} and len(followed.metrics("epoch")) == 1
        raise Stops
    assert contents(run.folder) == there


class Stops(Exception):
    pass


def test_full_disk_leaves_complete_rows(tmp_path: Path) -> None:
    """A limit on file sizes stands for a full disk."""
    code = (
        "import resource, sys; from mmcl.runs.run import Run, RunError; from mmcl.config.model import StrictModel\n"
        "run = Run.create('slu', StrictModel(), sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    with run:\n"
        "        for number in range(100): run.log('epoch', number=number)\n"
        "except RunError as error: print(error)"
    )
    folder = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert f"cannot write {folder}/metrics.jsonl (File too large)" in done.stdout
    rows = Run.read(folder).metrics()
    assert [row["number"] for row in rows] == list(range(len(rows)))
    assert 20 < len(rows) < 100
    assert (folder / "metrics.jsonl").read_bytes().endswith(b"}\n")
    assert Run.read(folder).status.startswith("failed: cannot write ")


# --- status at the end ---


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (TrainingError("loss is nan:\nlower the rate"), "failed: loss is nan: lower the rate"),
        (ZeroDivisionError("division by zero"), "failed: ZeroDivisionError: division by zero"),
        (KeyboardInterrupt(), "interrupted"),
    ],
)
def test_failed_run_records_the_reason_and_stays_readable(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), Run.create("slu", CONFIG, tmp_path / "run") as run:
        run.log("epoch", loss=1.0)
        raise error
    reader = Run.read(tmp_path / "run")
    assert reader.status == status
    assert reader.metrics() == [{"kind": "epoch", "loss": 1.0}]
    assert Config.model_validate(reader.config) == CONFIG


@pytest.mark.parametrize("missing", ["config.yaml", "environment.json", "metrics.jsonl"])
def test_other_folders_are_refused(run: Run, missing: str) -> None:
    with pytest.raises(RunError, match="nowhere"):
        Run.read(run.folder / "nowhere")
    (run.folder / missing).unlink()
    with pytest.raises(RunError, match=f"run is not a run.* {missing}"):
        Run.read(run.folder)


def test_damaged_environment_is_named(run: Run) -> None:
    (run.folder / "environment.json").write_text("{")
    with pytest.raises(RunError, match="environment.json"):
        _ = Run.read(run.folder).task


# --- one writer at a time ---


def test_second_writer_is_refused_until_the_first_ends(run: Run) -> None:
    code = (
        "import sys; from mmcl.runs.run import Run, RunError\n"
        "try: Run.open(sys.argv[1])\n"
        "except RunError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(run.folder)]
    before = contents(run.folder)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{run.folder} is in use by another process")
    assert contents(run.folder) == before
    assert Run.read(run.folder).status == "running"  # reading is always possible
    run.close()
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_killed_process_does_not_lock_the_folder(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from mmcl.runs.run import Run; from mmcl.config.model import StrictModel\n"
        "run = Run.create('slu', StrictModel(), sys.argv[1]); run.log('epoch')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    folder = tmp_path / "run"
    assert subprocess.run([sys.executable, "-c", code, str(folder)], check=False).returncode == -signal.SIGKILL
    with Run.open(folder):
        pass
    assert Run.read(folder).status == "finished"


# --- resuming ---


class Killed(BaseException):
    """Simulates a kill: nothing is written after it, including the status."""


def train(run: Run, kill_after: int = -1) -> None:
    """A typical task: consecutive units, with a checkpoint after each epoch and after the last row of a unit."""
    writes = 0

    def survive() -> None:
        nonlocal writes
        if writes == kill_after:
            raise Killed
        writes += 1

    def log(kind: str, **values: Any) -> None:
        survive()
        run.log(kind, **values)

    def checkpoint(name: str, state: Any) -> None:
        survive()
        run.checkpoint(name, state)

    for seed in CONFIG.seeds:
        if not any(row["seed"] == seed for row in run.metrics("stream")):
            log("stream", seed=seed)
        for strategy in CONFIG.strategy:
            name = f"{strategy}-{seed}"
            generator = torch.Generator().manual_seed(seed)
            state = run.restore(name) or {"epoch": 0, "weights": torch.zeros(2), "done": False}
            if state["done"]:
                continue
            weights = state["weights"]
            if "generator" in state:
                generator.set_state(state["generator"])
            for epoch in range(state["epoch"], CONFIG.epochs):
                weights = weights + torch.randn(2, generator=generator)
                log("epoch", strategy=strategy, seed=seed, epoch=epoch, loss=weights.sum().item())
                own = {"epoch": epoch + 1, "weights": weights, "generator": generator.get_state(), "done": False}
                checkpoint(name, own)
            log("result", strategy=strategy, seed=seed, last_accuracy=weights.prod().item())
            checkpoint(name, {"done": True})


WRITES = 2 + 4 * (2 * 2 + 2)  # one stream per seed; a row and a checkpoint per epoch and result


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with Run.create("slu", CONFIG, folder) as run:
        train(run)
    return (folder / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("kill_after", range(WRITES))
def test_metrics_of_resumed_runs_equal_those_of_an_uninterrupted_run(
    tmp_path: Path, uninterrupted: bytes, kill_after: int
) -> None:
    run = Run.create("slu", CONFIG, tmp_path / "run")
    with pytest.raises(Killed):
        train(run, kill_after)
    run.close()
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "ep')  # an incomplete row
    with Run.open(run.folder) as resumed:
        train(resumed)
    assert (run.folder / "metrics.jsonl").read_bytes() == uninterrupted
    assert resumed.status == "finished"
    assert len(resumed.environment["resumed"]) == 1


def test_number_of_writes(tmp_path: Path) -> None:
    with Run.create("slu", CONFIG, tmp_path / "run") as run:
        train(run, WRITES)
    assert run.status == "finished"


def test_repeatedly_killed_run(tmp_path: Path, uninterrupted: bytes) -> None:
    run = Run.create("slu", CONFIG, tmp_path / "run")
    for kill_after in (5, 2, 3, 7, 1, 4):
        with pytest.raises(Killed):
            train(run, kill_after)
        run.close()
        run = Run.open(run.folder)
    with run:
        train(run)
    assert (run.folder / "metrics.jsonl").read_bytes() == uninterrupted


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path, uninterrupted: bytes) -> None:
    with Run.create("slu", CONFIG, tmp_path / "run") as run:
        train(run)
    with Run.open(run.folder) as resumed:
        train(resumed, kill_after=0)  # writes nothing
    assert (run.folder / "metrics.jsonl").read_bytes() == uninterrupted


def test_temporary_files_of_a_killed_writer_are_removed(run: Run) -> None:
    leftovers = [run.folder / ".status.json.1.tmp", run.folder / "checkpoints" / ".naive-0.safetensors.1.tmp"]
    leftovers.append(run.folder / "checkpoints" / ".tmpX1y2Z3")  # a temporary file of safetensors
    run.close()
    for path in leftovers:
        path.write_text("half")
    Run.open(run.folder).close()
    assert not any(path.exists() for path in leftovers)


def test_missing_checkpoint_is_none(run: Run) -> None:
    assert run.restore("naive-0") is None


@pytest.mark.parametrize("damage", ["cut", "changed"])
def test_damaged_checkpoint_is_replaced_by_the_previous_one(
    tmp_path: Path, uninterrupted: bytes, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run.create("slu", CONFIG, tmp_path / "run")
    with pytest.raises(Killed):
        train(run, WRITES - 2)
    run.close()
    path = run.folder / "checkpoints" / "replay-1.safetensors"
    harm(path, damage)
    with Run.open(run.folder) as resumed:
        assert resumed.restore("replay-1")["epoch"] == 1
        train(resumed)
    assert (run.folder / "metrics.jsonl").read_bytes() == uninterrupted
    assert f"checkpoint {path} is damaged or lost" in caplog.text


def test_two_damaged_checkpoints_are_named_and_can_be_deleted(tmp_path: Path, uninterrupted: bytes) -> None:
    run = Run.create("slu", CONFIG, tmp_path / "run")
    with pytest.raises(Killed):
        train(run, WRITES - 2)
    run.close()
    path = run.folder / "checkpoints" / "replay-1.safetensors"
    for each in (path, previous_path(path)):
        harm(each, "cut")
    there = contents(run.folder)
    with pytest.raises(CheckpointError, match=r"replay-1.safetensors.before is damaged \(.*\): delete it"):
        Run.open(run.folder)
    previous_path(path).unlink()
    with pytest.raises(CheckpointError, match=r"replay-1.safetensors is damaged \(.*\): delete it"):
        Run.open(run.folder)
    del there["checkpoints/replay-1.safetensors.before"]
    assert contents(run.folder) == there
    path.unlink()
    with Run.open(run.folder) as resumed:
        train(resumed)
    assert (run.folder / "metrics.jsonl").read_bytes() == uninterrupted


def harm(path: Path, damage: str) -> None:
    """Truncate a file, or change its last byte, which belongs to a tensor."""
    content = path.read_bytes()
    path.unlink()  # the previous checkpoint may be a hard link to it
    path.write_bytes(content[:10] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))


def test_full_disk_on_resume_is_reported(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    run.close()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError, match=r"status.json \(No space left on device\)"):
        Run.open(run.folder)
    monkeypatch.undo()
    Run.open(run.folder).close()  # the failed attempt does not lock it


def test_truncated_metrics_are_refused(run: Run) -> None:
    run.log("epoch", loss=1.0)
    run.checkpoint("naive-0", {})
    run.close()
    os.truncate(run.folder / "metrics.jsonl", 5)
    with pytest.raises(
        RunError,
        match=r"metrics.jsonl has 5 bytes, but checkpoint .*naive-0.safetensors was written after \d\d",
    ):
        Run.open(run.folder)


def test_moved_run_can_be_resumed(tmp_path: Path, uninterrupted: bytes) -> None:
    run = Run.create("slu", CONFIG, tmp_path / "run")
    with pytest.raises(Killed):
        train(run, 9)
    run.close()
    shutil.copytree(run.folder, tmp_path / "other" / "place")
    with Run.open(tmp_path / "other" / "place") as resumed:
        train(resumed)
    assert (resumed.folder / "metrics.jsonl").read_bytes() == uninterrupted
    assert resumed.status == "finished"

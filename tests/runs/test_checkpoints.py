"""The checkpoints of a run: recovery from lost, swapped, outdated and damaged files without duplicate training."""

import os
import shutil

import pytest
import torch

from mmcl.errors import CheckpointError
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.runs.checkpoints import RunCheckpoints, previous_path
from mmcl.runs.log import Mark


@pytest.fixture
def checkpoints(tmp_path):
    return RunCheckpoints(tmp_path)


def write(checkpoints, unit, length):
    checkpoints.write(unit, {"length": length}, Mark(length, f"digest at {length}"))


def write_all(checkpoints):
    """Three consecutive units with two checkpoints each."""
    for unit, lengths in {"c": (10, 20), "b": (30, 40), "a": (50, 60)}.items():
        for length in lengths:
            write(checkpoints, unit, length)


def mended(checkpoints):
    """Recover in a new process; return the bytes of metrics kept and the restored states."""
    fresh = RunCheckpoints(checkpoints.folder, checkpoints.settings)
    found = fresh.recovery()
    fresh.apply(found)
    assert fresh.recovery() == found._replace(
        marks={path.with_name(path.name.removesuffix(".before")): mark for path, mark in found.marks.items()},
        removed=[],
        restored=[],
    )
    return found.length, {unit: state["length"] for unit in "cba" if (state := fresh.read(unit)) is not None}


WHOLE = (60, {"c": 20, "b": 40, "a": 60})


def test_latest_and_previous_checkpoints_are_kept(checkpoints):
    assert checkpoints.read("naive-0") is None
    for epoch in (1, 2, 3):
        state = {"epoch": epoch, "weights": torch.full((2,), float(epoch))}
        checkpoints.write("naive-0", state, Mark(10 * epoch, "digest"))
    found = checkpoints.recovery()
    assert checkpoints.read("naive-0")["epoch"] == 3
    assert found == ({checkpoints.path("naive-0"): Mark(30, "digest")}, [], []) and found.length == 30
    os.replace(previous_path(checkpoints.path("naive-0")), checkpoints.path("naive-0"))
    assert checkpoints.read("naive-0")["weights"].tolist() == [2.0, 2.0]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["naive-0.safetensors"]


def test_failed_write_keeps_both_checkpoints(checkpoints, monkeypatch):
    for length in (10, 20):
        write(checkpoints, "a", length)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmcl.runs.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        write(checkpoints, "a", 30)
    assert checkpoints.read("a") == {"length": 20}
    checkpoints.path("a").write_bytes(b"cut")  # the previous one is still there
    assert mended(checkpoints) == (10, {"a": 10})


def test_file_system_without_links_keeps_only_the_latest(checkpoints, monkeypatch):
    def refused(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("mmcl.runs.checkpoints.os.link", refused)
    for length in (10, 20):
        write(checkpoints, "a", length)
    assert checkpoints.read("a") == {"length": 20} and not previous_path(checkpoints.path("a")).exists()


def test_units_after_a_damaged_checkpoint_are_trained_again(checkpoints, caplog):
    write_all(checkpoints)
    assert mended(checkpoints) == WHOLE
    checkpoints.path("b").write_bytes(b"cut")
    assert mended(checkpoints) == (30, {"c": 20, "b": 30})
    assert {path.name for path in checkpoints.folder.iterdir()} == {
        "b.safetensors",
        "c.safetensors",
        "c.safetensors.before",
    }
    assert f"{checkpoints.path('a')} follows a lost or damaged one" in caplog.text


@pytest.mark.parametrize(
    ("unit", "kept"),
    [("c", (0, {})), ("b", (20, {"c": 20})), ("a", (40, {"c": 20, "b": 40}))],
    ids=["first", "middle", "last"],
)
def test_lost_unit_and_later_units_are_removed(checkpoints, unit, kept):
    write_all(checkpoints)
    checkpoints.path(unit).unlink()
    previous_path(checkpoints.path(unit)).unlink()
    assert mended(checkpoints) == kept


@pytest.mark.parametrize(
    ("unit", "kept"), [("c", (10, {"c": 10})), ("b", (30, {"c": 20, "b": 30})), ("a", (50, WHOLE[1] | {"a": 50}))]
)
@pytest.mark.parametrize("loss", ["deleted", "damaged", "older", "of another unit"])
def test_lost_checkpoint_is_replaced_by_the_previous_one(checkpoints, unit, kept, loss):
    write_all(checkpoints)
    path = checkpoints.path(unit)
    path.unlink()
    if loss == "damaged":
        path.write_bytes(b"cut")
    elif loss == "older":
        shutil.copy(previous_path(path), path)
    elif loss == "of another unit":
        shutil.copy(checkpoints.path("b" if unit != "b" else "a"), path)
    assert mended(checkpoints) == kept


def test_swapped_checkpoints_are_detected(checkpoints):
    write_all(checkpoints)
    first, second, aside = checkpoints.path("c"), checkpoints.path("a"), checkpoints.folder / "aside"
    os.replace(first, aside), os.replace(second, first), os.replace(aside, second)
    with pytest.raises(CheckpointError, match="a.safetensors .*'c', expected 'a'"):
        checkpoints.read("a")
    assert mended(checkpoints) == (10, {"c": 10})


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_interrupted_recovery_can_be_repeated(checkpoints, monkeypatch, killed_after):
    write_all(checkpoints)
    checkpoints.path("c").unlink()
    found, steps, unlink = checkpoints.recovery(), [], os.unlink

    def killed(path, *_, **__):
        if len(steps) == killed_after:
            raise KeyboardInterrupt
        steps.append(path)
        unlink(path)

    monkeypatch.setattr("pathlib.os.unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.apply(found)
    monkeypatch.undo()
    assert mended(checkpoints) == (10, {"c": 10})


def test_alternating_units_are_reset_together(checkpoints):
    for length, unit in enumerate("abab", start=1):
        write(checkpoints, unit, length)
    checkpoints.path("b").unlink()
    assert mended(checkpoints) == (2, {"a": 1, "b": 2})


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    write(RunCheckpoints(tmp_path, "other settings"), "a", 10)
    with pytest.raises(CheckpointError, match="a.safetensors .*settings"):
        RunCheckpoints(tmp_path, "settings").recovery()
    assert RunCheckpoints(tmp_path).read("a") == {"length": 10}  # without settings, nothing is compared


def test_two_damaged_checkpoints_are_named_and_can_be_deleted(checkpoints):
    write_all(checkpoints)
    for path in (previous_path(checkpoints.path("b")), checkpoints.path("b")):
        checkpoints.path("b").write_bytes(b"cut")
        path.write_bytes(b"cut")
        with pytest.raises(CheckpointError, match=rf"{path} is damaged \(.*\): delete it"):
            checkpoints.recovery()
        path.unlink()
    assert mended(checkpoints) == (20, {"c": 20})


@pytest.mark.parametrize("content", [[1], {"state": {}}, {"metrics_bytes": 1}, {"state": {}, "metrics_bytes": "1"}])
def test_foreign_checkpoint_is_refused(checkpoints, content):
    save_checkpoint(checkpoints.path("a"), content)
    with pytest.raises(CheckpointError, match="a.safetensors is not a checkpoint of a run"):
        checkpoints.recovery()


def test_checkpoints_of_older_versions_are_accepted(checkpoints):
    write_all(checkpoints)
    for path in checkpoints.folder.iterdir():
        old = {name: value for name, value in load_checkpoint(path).items() if name in ("state", "metrics_bytes")}
        save_checkpoint(path, old)
    assert mended(checkpoints) == WHOLE
    checkpoints.path("b").write_bytes(b"cut")
    assert mended(checkpoints) == (30, {"c": 20, "b": 30})

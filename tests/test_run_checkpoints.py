import os

import pytest
import torch

from mmcl.errors import CheckpointError
from mmcl.run_checkpoints import RunCheckpoints, before


@pytest.fixture
def checkpoints(tmp_path):
    return RunCheckpoints(tmp_path)


def test_the_last_and_the_one_before_are_kept(checkpoints):
    assert checkpoints.read("naive-0") is None
    for epoch in (1, 2, 3):
        checkpoints.write("naive-0", {"epoch": epoch, "weights": torch.full((2,), float(epoch))}, 10 * epoch)
    assert checkpoints.read("naive-0")["epoch"] == 3 and checkpoints.mend() == 30
    os.replace(before(checkpoints.path("naive-0")), checkpoints.path("naive-0"))
    assert checkpoints.read("naive-0")["weights"].tolist() == [2.0, 2.0]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["naive-0.safetensors"]


def test_a_checkpoint_that_cannot_be_written_harms_neither(checkpoints, monkeypatch):
    for epoch in (1, 2):
        checkpoints.write("naive-0", {"epoch": epoch}, epoch)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmcl.checkpoint.save_file", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        checkpoints.write("naive-0", {"epoch": 3}, 3)
    assert checkpoints.read("naive-0") == {"epoch": 2}
    checkpoints.path("naive-0").write_bytes(b"cut")  # even then there is one
    assert checkpoints.mend() == 1 and checkpoints.read("naive-0") == {"epoch": 1}


def test_a_file_system_without_links_keeps_one(checkpoints, monkeypatch):
    def refused(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("mmcl.run_checkpoints.os.link", refused)
    for epoch in (1, 2):
        checkpoints.write("naive-0", {"epoch": epoch}, epoch)
    assert checkpoints.read("naive-0") == {"epoch": 2} and not before(checkpoints.path("naive-0")).exists()


def test_what_came_after_a_damaged_checkpoint_is_done_again(checkpoints, caplog):
    for unit, lengths in {"c": (10, 20), "b": (30, 40), "a": (50, 60)}.items():  # in this order
        for length in lengths:
            checkpoints.write(unit, {"length": length}, length)
    checkpoints.path("b").write_bytes(b"cut")
    assert checkpoints.mend() == 30
    assert [checkpoints.read(unit) for unit in "cba"] == [{"length": 20}, {"length": 30}, None]
    assert {path.name for path in checkpoints.folder.iterdir()} == {
        "b.safetensors",
        "c.safetensors",
        "c.safetensors.before",
    }
    assert f"{checkpoints.path('a')} was written after a damaged one was: what it holds is done again" in caplog.text
    for unit in "cb":
        checkpoints.write(unit, {"length": 70}, 70)
        checkpoints.path(unit).write_bytes(b"cut")
    assert checkpoints.mend() == 20  # of two, from the earlier
    assert [checkpoints.read(unit) for unit in "cb"] == [{"length": 20}, None]

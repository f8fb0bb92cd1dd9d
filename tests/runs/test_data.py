"""The data of a run: resuming with changed data is refused."""

from __future__ import annotations

import re
import shutil

import pytest

from mmcl.config.model import StrictModel
from mmcl.data import open_dataset
from mmcl.errors import RunError
from mmcl.runs.data import RunData
from mmcl.runs.run import Run


class Config(StrictModel):
    tensorboard: bool = False


@pytest.fixture
def digits(data_dir, tmp_path):
    """Forty recordings of FSDD."""
    root = tmp_path / "fsdd"
    (root / "recordings").mkdir(parents=True)
    for digit in range(10):
        for take in (10, 11, 12, 13):
            shutil.copy(data_dir / "fsdd" / "recordings" / f"{digit}_george_{take}.wav", root / "recordings")
    return root


def use(run, root):
    with run:
        open_dataset("fsdd", "train", root)
    return run.folder


def add(recordings, data_dir):
    shutil.copy(data_dir / "fsdd" / "recordings" / "3_george_14.wav", recordings)


def remove(recordings, data_dir):
    (recordings / "3_george_13.wav").unlink()


def replace(recordings, data_dir):
    shutil.copy(recordings / "4_george_13.wav", recordings / "3_george_13.wav")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (add, "1 added, 0 removed and 0 changed, such as 3_george_14"),
        (remove, "0 added, 1 removed and 0 changed"),
        (replace, "0 added, 0 removed and 1 changed, such as 3_george_13"),
    ],
)
def test_changed_recordings_are_counted_and_refused(digits, data_dir, tmp_path, change, difference):
    folder = use(Run.create("count", Config(), tmp_path / "run"), digits)
    assert use(Run.open(folder), digits) == folder
    change(digits / "recordings", data_dir)
    with pytest.raises(RunError, match=re.escape(difference) + ".*mmcl run"):
        use(Run.open(folder), digits)
    assert Run.read(folder).status.startswith("failed: the data of ")
    open_dataset("fsdd", "train", digits)  # outside a run, changes are allowed


class Said:
    """A data set in memory without ids."""

    classes = ("no", "yes")

    def __init__(self, texts, labels):
        self.texts, self.labels = texts, labels

    def __len__(self):
        return len(self.texts)


@pytest.mark.parametrize(
    ("texts", "labels", "difference"),
    [
        (
            ["a", "b", "c", "d"],
            [0, 1, 0, 1],
            "4 samples in place of 3, 1 added, 0 removed and 0 changed, such as sample 3",
        ),
        (
            ["z", "a", "b", "c"],
            [0, 0, 1, 0],
            "4 samples in place of 3, 1 added, 0 removed and 0 changed, such as sample 0",
        ),
        (["a", "c"], [0, 0], "2 samples in place of 3, 0 added, 1 removed and 0 changed"),
        (["a", "b", "z"], [0, 1, 0], "3 samples in place of 3, 1 added, 1 removed and 0 changed, such as sample 2"),
        (["a", "b", "c"], [0, 0, 0], "3 samples in place of 3, 1 added, 1 removed and 0 changed, such as sample 1"),
        (["b", "a", "c"], [1, 0, 0], "the same 3 samples in another order"),
    ],
)
def test_differences_of_any_data_set_are_described(tmp_path, texts, labels, difference):
    before = Said(["a", "b", "c"], [0, 1, 0])
    RunData(tmp_path).note("said train", before)
    for data in (RunData(tmp_path), RunData(tmp_path)):
        data.note("said train", before)
        data.note("said train", before)
        data.note("said test", Said(["a"], [0]))
    with pytest.raises(RunError, match=f"said train has {difference}"):
        RunData(tmp_path).note("said train", Said(texts, labels))


def test_missing_or_damaged_file_is_refused(tmp_path):
    folder = use_nothing(Run.create("count", Config(), tmp_path / "run"))
    (folder / "data.json").unlink()
    with pytest.raises(RunError, match="data.json is missing"):
        Run.open(folder)
    (folder / "data.json").write_text('{"said": [1]}')
    with pytest.raises(RunError, match="data.json .*said"):
        Run.open(folder)


def use_nothing(run):
    with run:
        return run.folder

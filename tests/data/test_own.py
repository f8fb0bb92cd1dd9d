"""`mmcl data check` of user data."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from torchvision.io import write_png

from mmcl.data.own import check_own, describe_own
from mmcl.errors import MissingDataError


def _sound(path, seed):
    soundfile.write(path, 0.3 * np.sin(np.arange(1600) * (0.1 + seed / 97)), 16_000)


def _check(mmcl_, name, root):
    """Return the exit code and the output."""
    done = mmcl_("data", "check", name, "--root", root)
    return done.code, done.out + done.err


def test_valid_table_has_no_faults(tmp_path, mmcl_):
    (tmp_path / "train.csv").write_text("x,label\n1,a\n5,b\n")
    (tmp_path / "test.csv").write_text("x,label\n2,b\n")
    code, said = _check(mmcl_, "table", tmp_path)
    assert code == 0 and said.endswith("table: 0 errors, 0 warnings\n") and "splits: test 1, train 2\n" in said


@pytest.mark.parametrize(
    ("train", "code", "said"),
    [
        (",x,label\n0,1,a\n1,5,b\n", 0, "skipped column 1 of"),
        ("x,label\n2,b\n1,a\n", 0, "1 rows of test.csv are also in train.csv"),
        ("x,label\n1,a\n2,a\n3,b\n", 0, "column x of"),
        ("x,label\n1,a \n5,a\n", 0, "merged 2 class names"),
        ("x,label\n1,A\n5,a\n", 0, "differ in case only"),
        ("x,label\nnan,a\n5,b\n", 1, "'nan' in line 2, column x"),
        ("x,label\n1,a,b\n", 1, "line 2 has 3 cells, expected 2"),
        ("x,x,label\n1,1,a\n", 1, "more than one column x"),
    ],
)
def test_faults_of_a_table_are_reported(tmp_path, mmcl_, train, code, said):
    (tmp_path / "train.csv").write_text(train)
    (tmp_path / "test.csv").write_text("x,label\n2,b\n")
    found = _check(mmcl_, "table", tmp_path)
    assert found[0] == code and said in found[1]


def test_captions_are_checked_as_a_file_or_a_folder(tmp_path, mmcl_):
    for number, name in enumerate("abc"):
        _sound(tmp_path / f"{name}.wav", number)
    (tmp_path / "train.csv").write_text("audio,text\na.wav,on\nb.wav,off\n")
    assert _check(mmcl_, "captions", tmp_path / "train.csv") == (0, "captions: 0 errors, 0 warnings\n")
    (tmp_path / "test.csv").write_text("audio,text\nc.wav,on\nb.wav,off\n")
    code, said = _check(mmcl_, "captions", tmp_path)
    assert code == 0 and "1 of 2 recordings of train.csv are in test.csv as well" in said
    (tmp_path / "test.csv").write_text("audio,text\nc.wav,on, please\n")
    code, said = _check(mmcl_, "captions", tmp_path / "test.csv")
    assert code == 1 and "test.csv line 2 has 3 cells, expected 2" in said


def test_captions_next_to_images_in_linked_folders(tmp_path, mmcl_):
    (tmp_path / "disk").mkdir()
    (tmp_path / "root").mkdir()
    write_png(torch.zeros(3, 8, 8, dtype=torch.uint8), str(tmp_path / "disk" / "1.png"))
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "disk")
    code, said = _check(mmcl_, "captions", tmp_path / "root")
    assert code == 1 and "1.png has no text: expected 1.txt" in said
    (tmp_path / "disk" / "1.txt").write_text("black")
    assert _check(mmcl_, "captions", tmp_path / "root")[0] == 0


def test_missing_files_raise(tmp_path, mmcl_):
    assert _check(mmcl_, "captions", tmp_path / "nowhere")[0] == 1
    for root in (tmp_path / "nowhere", tmp_path):
        code, said = _check(mmcl_, "table", root)
        assert code == 1 and str(root) in said
    for name in ("table", "captions"):
        done = mmcl_("data", "check", name)
        assert done.code == 1 and f"{name} is user data" in done.err and "--root" in done.err


def test_a_summary_counts_rows_by_class_and_split(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,split\none,a,train\ntwo,b,test\nthree,b,test\nfour,b,\n")
    found = describe_own(tmp_path / "a.csv")
    assert found.kinds == ("text",) and found.made == ()
    assert found.counts == {"train": {"a": 1}, "test": {"b": 2}}
    assert [fault.reason.partition("a.csv ")[2] for fault in found.faults] == [
        "has an empty cell in line 5, column split: fill it in"
    ]
    with pytest.raises(MissingDataError, match="nowhere"):
        describe_own(tmp_path / "nowhere")
    (fault,) = check_own(tmp_path / "nowhere").faults
    assert "nowhere" in fault.reason and not fault.warning

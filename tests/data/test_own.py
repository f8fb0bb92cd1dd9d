"""`mmcl data check` of user data."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from torchvision.io import write_png


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


@pytest.fixture
def orders(tmp_path):
    """A table of ten recordings of two speakers, and an image."""
    lines = ["audio,label,speaker,split"]
    for number in range(10):
        _sound(tmp_path / f"{number}.wav", number)
        split = ("train", "test")[number // 5]
        lines.append(f"{number}.wav,{'ab'[number % 2]},s{number // 5},{split}")
    (tmp_path / "orders.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "orders.csv"


def test_a_file_is_checked_and_described(orders, mmcl_):
    done = mmcl_("data", "check", orders, "by_speaker=false")
    assert done.code == 0 and done.err == ""
    said = done.out.splitlines()
    assert said[0] == "orders.csv: 10 rows, audio, 2 classes, 2 speakers"
    assert "seconds: 0.10 to 0.10, median 0.10, total 1.0" in said and said[-1].endswith("0 errors, 0 warnings")
    assert [line.split() for line in said if line.startswith(("class", "a ", "b "))][0][1:] == [
        "train",
        "valid",
        "test",
    ]
    described = mmcl_("data", "describe", orders, "by_speaker=false")
    *lines, command = described.out.splitlines()
    assert described.code == 0 and max(map(len, lines)) <= 80
    assert command.startswith(f"  mmcl run slu_incremental data.name=table data.root={orders} experiences=2")
    assert command.endswith("'data.options={by_speaker: false}'") and "no speaker" not in described.out


def test_check_reports_every_fault(orders, mmcl_):
    lines = orders.read_text().splitlines()
    lines[2] = lines[2].replace(",b,", ",,")
    lines[3] = lines[3].replace("2.wav", "none.wav")
    orders.write_text("\n".join(lines) + "\n")
    whole = (orders.parent / "7.wav").read_bytes()
    (orders.parent / "7.wav").write_bytes(whole[:30])
    done = mmcl_("data", "check", orders, "by_speaker=false")
    assert done.code == 1
    for said in ("line 3, column label", "none.wav: does not exist, listed in orders.csv, line 4", "7.wav: "):
        assert sum(said in line for line in done.out.splitlines()) == 1
    assert "orders.csv: 3 errors, 0 warnings" in done.out


def test_images_are_decoded(tmp_path, mmcl_):
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(4):
            path = tmp_path / "data" / label / f"{number}.png"
            write_png(torch.full((3, 8, 8), number + 9 * ord(label) % 250, dtype=torch.uint8), str(path))
    assert mmcl_("data", "check", tmp_path / "data").code == 0
    path.write_bytes(path.read_bytes()[:40])
    done = mmcl_("data", "check", tmp_path / "data")
    assert done.code == 1 and "b/3.png" in done.out


def test_arguments_that_do_not_fit_raise(orders, mmcl_):
    for arguments in (
        (orders, "--root", orders.parent),
        ("fsdd", "split_seed=1"),
        (orders, "split_sed=1"),
        (orders, "split_seed"),
    ):
        done = mmcl_("data", "check", *arguments)
        assert done.code == 2 and done.out == ""
    assert mmcl_("data", "check", orders.with_name("ordres.csv")).code == 1

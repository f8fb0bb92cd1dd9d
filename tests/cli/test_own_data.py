"""`mmcl data check FILE` and `mmcl data describe FILE`."""

from __future__ import annotations

import shlex

import numpy as np
import pytest
import soundfile
import torch
from torchvision.io import write_png

from mmcl.cli.own_data import looks_like_path


def _sound(path, seed):
    soundfile.write(path, 0.3 * np.sin(np.arange(1600) * (0.1 + seed / 97)), 16_000)


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
        ("uci_regression", "table=yatch"),
        (orders, "split_sed=1"),
        (orders, "split_seed"),
    ):
        done = mmcl_("data", "check", *arguments)
        assert done.code == 2 and done.out == ""
    assert mmcl_("data", "check", orders.with_name("ordres.csv")).code == 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [("fsdd", False), ("table", False), ("fsd", False), ("a.csv", True), ("x/fsdd", True), ("A.PARQUET", True)],
)
def test_paths_are_told_from_names(name, expected):
    assert looks_like_path(name) == expected


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("text,label\nhi,a\nho,b\n", "text_incremental 'data={name: table, root: ROOT}' rationales=none"),
        ("x,label\n1,a\n2,b\n", "multimodal_classification 'data={name: table, root: ROOT}' method=single"),
        ("image,label\na.png,a\nb.png,b\n", "unlearning data.name=table data.root=ROOT 'data.train=[train]'"),
    ],
)
def test_describe_suggests_a_task(tmp_path, mmcl_, content, command):
    (tmp_path / "a.csv").write_text(content)
    done = mmcl_("data", "describe", tmp_path / "a.csv")
    assert done.code == 0 and f"  mmcl run {command.replace('ROOT', str(tmp_path / 'a.csv'))}" in done.out


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("text,label\nhi,a\nho,b\nhu,b\n", ""),
        ("x,label\n1,a\n2,b\n3,b\n", ""),
        ("image,label\na.png,a\nb.png,b\nc.png,b\n", " 'data.options={size: 32}'"),
        ("image,x,label\na.png,1,a\nb.png,2,b\nc.png,3,b\n", " 'data.options={size: 32}'"),
        ("audio,x,label\na.wav,1,a\nb.wav,2,b\nc.wav,3,b\n", ""),
        ("audio,transcript,label\na.wav,hi,a\nb.wav,ho,b\n", None),
        ("text,label\nhi,a\nho,a\n", None),
        ("image,text\na.png,hi\nb.png,ho\n", None),
    ],
)
def test_describe_suggests_to_train_class_by_class(tmp_path, mmcl_, content, options):
    """Not for recordings alone, which have their own task, one class, or data without labels."""
    (tmp_path / "a.csv").write_text(content)
    labelled = ["labelled=false"] if ",label" not in content else []
    said = mmcl_("data", "describe", tmp_path / "a.csv", *labelled)
    assert said.code == 0
    last = said.out.splitlines()[-1]
    if options is None:
        assert "class_incremental" not in said.out
    else:
        place = tmp_path / "a.csv"
        assert last == f"  mmcl run class_incremental data.name=table data.root={place} experiences=2{options}"


def test_the_suggested_class_incremental_run_passes_validation(tmp_path, mmcl_):
    lines = ["image,label"]
    for number in range(20):
        image = torch.full((3, 40, 40), number, dtype=torch.uint8)
        write_png(image, str(tmp_path / f"{number}.png"))
        lines.append(f"{number}.png,{'ab'[number % 2]}")
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    suggested = mmcl_("data", "describe", tmp_path / "a.csv").out.splitlines()[-1]
    done = mmcl_("validate", *shlex.split(suggested)[2:])
    assert done.code == 0, done.err


def test_targets_are_described_in_place_of_classes(tmp_path, mmcl_):
    path = tmp_path / "prices.csv"
    path.write_text("rooms,price\n" + "".join(f"{row % 3 + row},{row + 0.5}\n" for row in range(20)))
    done = mmcl_("data", "describe", path, "target=price")
    assert done.code == 0 and "20 rows, numbers, targets from 0.5 to 19.5" in done.out and "class" not in done.out
    assert "objective=[l1,supremix]" in done.out and "{target: price}" in done.out
    assert mmcl_("data", "check", path, "target=price").code == 0
    path.write_text(path.read_text().replace("2.5", "none"))
    faulty = mmcl_("data", "check", path, "target=price")
    assert faulty.code == 1 and "line 4, column price" in faulty.out

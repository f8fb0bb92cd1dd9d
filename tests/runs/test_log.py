"""The file of metrics: rows are complete, in order and exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcl.errors import RunError
from mmcl.runs.log import START, Mark, RowFile


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[RowFile]:
    rows = RowFile(tmp_path / "metrics.jsonl")
    rows.open()
    yield rows
    rows.close()


def test_rows_are_restored_in_order_and_exactly(rows: RowFile) -> None:
    written = [{"kind": "epoch", "loss": 1 / 3, "none": None}, {"kind": "result", "accuracy": [0.1 + 0.2, -math.inf]}]
    for row in written:
        rows.append(row)
        assert rows.path.read_text().endswith("}\n")  # written when append returns
    assert rows.read() == written
    assert rows.read("result") == written[1:]
    assert rows.read("other") == []


def test_tensors_and_arrays_become_lists_and_other_types_are_refused(rows: RowFile) -> None:
    rows.append({"kind": "x", "tensor": torch.tensor([1.5]), "scalar": torch.tensor(2), "array": np.float32(0.25)})
    assert rows.read() == [{"kind": "x", "tensor": [1.5], "scalar": 2, "array": 0.25}]
    with pytest.raises(TypeError, match="a set"):
        rows.append({"kind": "x", "set": {1}})
    assert len(rows.read()) == 1


def test_incomplete_last_row_is_ignored(rows: RowFile) -> None:
    rows.append({"kind": "epoch"})
    with rows.path.open("a") as file:
        file.write('{"kind": "epo')
    assert rows.read() == [{"kind": "epoch"}]


@pytest.mark.parametrize("line", ["not a row", "[1]", '{"loss": 1}', ""])
def test_invalid_line_is_named(rows: RowFile, line: str) -> None:
    rows.append({"kind": "epoch"})
    with rows.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunError, match=r"metrics.jsonl line 2 is not a row of metrics \(.*\)"):
        rows.read("epoch")


def test_truncate_keeps_the_first_bytes(rows: RowFile) -> None:
    rows.append({"kind": "a"})
    mark = rows.to_disk()
    assert mark.length == rows.path.stat().st_size
    rows.append({"kind": "b"})
    rows.truncate(mark.length)
    assert rows.read() == [{"kind": "a"}]
    rows.append({"kind": "c"})
    assert [row["kind"] for row in rows.read()] == ["a", "c"]


def test_mark_covers_all_rows(rows: RowFile) -> None:
    marks = [rows.to_disk()]
    for number in range(3):
        rows.append({"kind": "a", "number": number})
        marks.append(rows.to_disk())
    assert marks[0] == START and len(set(marks)) == 4
    assert rows.marks(mark.length for mark in marks) == {mark.length: mark for mark in marks}
    again = RowFile(rows.path)
    again.open()
    assert again.to_disk() == marks[-1]
    again.close()
    for mark in marks:
        rows.check(mark, "it was written")


def test_changed_and_truncated_files_are_refused(rows: RowFile) -> None:
    rows.append({"kind": "a", "loss": 0.25})
    first = rows.to_disk()
    rows.append({"kind": "a", "loss": 0.75})
    second = rows.to_disk()
    rows.path.write_text(rows.path.read_text().replace("0.75", "0.76"))
    rows.check(first, "it was written")
    with pytest.raises(RunError, match=r"metrics.jsonl was changed: .*\d+ bytes .*when it was written"):
        rows.check(second, "it was written")
    rows.check(second._replace(digest=None), "an older mmcl wrote it")
    with pytest.raises(RunError, match="has 56 bytes, but it was written after 99"):
        rows.check(Mark(99, None), "it was written")
    rows.path.unlink()
    for ask in (rows.read, lambda: rows.check(first, "it was written")):
        with pytest.raises(RunError, match=r"metrics.jsonl \(No such file or directory\)"):
            ask()


def test_closed_file_is_not_written(rows: RowFile) -> None:
    rows.close()
    for write in (lambda: rows.append({"kind": "a"}), rows.to_disk):
        with pytest.raises(RunError, match="is not open for writing"):
            write()
    assert rows.read() == []

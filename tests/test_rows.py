"""Rows of metrics: whole, in order, exact."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mmcl.errors import RunError
from mmcl.rows import RowFile


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[RowFile]:
    rows = RowFile(tmp_path / "metrics.jsonl")
    rows.open()
    yield rows
    rows.close()


def test_rows_come_back_in_order_and_to_the_last_bit(rows: RowFile) -> None:
    written = [{"kind": "epoch", "loss": 1 / 3, "none": None}, {"kind": "result", "accuracy": [0.1 + 0.2, -math.inf]}]
    for row in written:
        rows.append(row)
        assert rows.path.read_text().endswith("}\n")  # there when append returns
    assert rows.read() == written
    assert rows.read("result") == written[1:]
    assert rows.read("other") == []


def test_tensors_and_arrays_become_lists_and_nothing_else_is_guessed(rows: RowFile) -> None:
    rows.append({"kind": "x", "tensor": torch.tensor([1.5]), "scalar": torch.tensor(2), "array": np.float32(0.25)})
    assert rows.read() == [{"kind": "x", "tensor": [1.5], "scalar": 2, "array": 0.25}]
    with pytest.raises(TypeError, match="a set cannot be logged: convert it to numbers and strings"):
        rows.append({"kind": "x", "set": {1}})
    assert len(rows.read()) == 1


def test_a_half_written_last_row_is_left_out(rows: RowFile) -> None:
    rows.append({"kind": "epoch"})
    with rows.path.open("a") as file:
        file.write('{"kind": "epo')
    assert rows.read() == [{"kind": "epoch"}]


@pytest.mark.parametrize("line", ["not a row", "[1]", '{"loss": 1}', ""])
def test_a_line_that_is_no_row_is_named(rows: RowFile, line: str) -> None:
    rows.append({"kind": "epoch"})
    with rows.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(RunError, match=r"metrics.jsonl, line 2: not a row of metrics, remove that line"):
        rows.read("epoch")


def test_a_cut_keeps_what_was_there_at_that_length(rows: RowFile) -> None:
    rows.append({"kind": "a"})
    length = rows.to_disk()
    assert length == rows.path.stat().st_size
    rows.append({"kind": "b"})
    rows.cut(length)
    assert rows.read() == [{"kind": "a"}]
    rows.append({"kind": "c"})
    assert [row["kind"] for row in rows.read()] == ["a", "c"]
    with pytest.raises(
        RunError, match=r"has 28 bytes, but a checkpoint was written after 99: put the file back as it was"
    ):
        rows.cut(99)


def test_a_closed_file_is_not_written(rows: RowFile) -> None:
    rows.close()
    for write in (lambda: rows.append({"kind": "a"}), rows.to_disk):
        with pytest.raises(RunError, match="is not open for writing: use Run.create or Run.open"):
            write()
    assert rows.read() == []

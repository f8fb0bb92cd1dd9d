"""Strict reading of CSV files."""

from __future__ import annotations

import logging
import random
import re

import numpy as np
import pytest

from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_csv import numbers, read_rows, read_table


@pytest.fixture
def written(tmp_path):
    def write(content):
        path = tmp_path / "a.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_reads_output_of_csv_writers(written, mark, end):
    lines = ["text,label", '"yes, please",a', "", '"he said ""no"""," b"', "नमस्ते,c"]
    table = read_table(written(mark + end.join(lines).encode()))
    assert table.columns == ("text", "label")
    assert [line for line, _ in table.rows] == [2, 4, 5], "as an editor counts them"
    assert [row["text"] for _, row in table.rows] == ["yes, please", 'he said "no"', "नमस्ते"]


def test_line_numbers_account_for_multiline_cells(written):
    path = written('text,label\n"two\nlines",a\nb\n')
    with pytest.raises(DataError, match="a.csv line 4 has 1 cells, expected 2 as in line 1"):
        read_rows(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n3,4,5\n", "line 3 has 3 cells, expected 2 as in line 1: put quotes around a cell with a comma"),
        ("a,b\n1\n", "line 2 has 1 cells, expected 2 as in line 1: fill the line up"),
        ("a,b\n1,2,\n", "line 2 has 3 cells"),
        ('a,b\n1,2\n3,"4\n5,6\n', "line 3 is not CSV (a quote is not closed)"),
        ('a,b\n1,"2"x\n', "line 2 is not CSV ("),
        ("a,b\n1," + "x" * 131_073 + "\n", "line 2 is not CSV (field larger than field limit (131072))"),
        ("a,b\n1,2\n3,\0\n", "line 3 has a NUL byte"),
        (b"a,b\n1,\xff\n", "line 2 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
    ],
)
def test_malformed_csv_raises_with_its_line(written, content, message):
    with pytest.raises(DataError, match=re.escape(f"a.csv {message}")):
        read_rows(written(content))


def test_missing_and_special_files_raise(tmp_path):
    with pytest.raises(MissingDataError, match=r"there is no file .*a\.csv"):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(DataError, match="is not a regular file"):
        read_rows(tmp_path)


@pytest.mark.parametrize("name", ["", " ", "Unnamed: 0", "Unnamed: 0_level_1"])
@pytest.mark.parametrize(
    ("cells", "what"), [("012", "numbers its rows"), ("739", "numbers its rows"), ("   ", "is empty")]
)
def test_unnamed_index_column_is_skipped_with_a_warning(written, caplog, name, cells, what):
    rows = "".join(f"{cell.strip()},{n},b\n" for n, cell in enumerate(cells))
    table = read_table(written(f"{name},x,label\n{rows}"))
    assert table.columns == ("x", "label") and table.rows[1] == (3, {"x": "1", "label": "b"})
    assert f"which has no name and {what}" in caplog.text


@pytest.mark.parametrize("cells", ["0.5,1.5,2.5", "a,b,c", "1,1,2", "1,,2"])
def test_unnamed_data_column_raises(written, cells):
    path = written("x,,label\n" + "".join(f"1,{cell},b\n" for cell in cells.split(",")))
    with pytest.raises(DataError, match=r"a\.csv has no name for column 2 in line 1"):
        read_table(path)


@pytest.mark.parametrize("header", ["x,x,label", "x, x,label", "caf\u00e9,cafe\u0301,label"])
def test_repeated_column_raises(written, header):
    with pytest.raises(DataError, match=r"a\.csv has more than one column"):
        read_table(written(f"{header}\n1,2,a\n"))


def test_unwanted_columns_are_ignored(written, caplog):
    content = ",text,x,x\n0,hello,1,2\n"
    with caplog.at_level(logging.WARNING):
        assert read_table(written(content), ("text", "audio")).rows == [(2, {"text": "hello"})]
    assert not caplog.records
    with pytest.raises(DataError, match="has no column audio, expected text, audio: its first line is , text, x, x"):
        read_table(written(content), ("text",), required=("text", "audio"))
    with pytest.raises(DataError, match="more than one column x"):
        read_table(written(content), ("x",))


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_other_delimiter_is_reported(written, mark):
    with pytest.raises(DataError, match=re.escape(f"{mark!r}, expected commas")):
        read_table(written(f"text{mark}label\nhello{mark}a\n"), required=("text",))


def test_numbers_match_numpy(tmp_path):
    draw = random.Random(0)
    texts = [draw.choice((f"{draw.gauss(0, 1e3)!r}", f"{draw.random():.18e}", str(draw.randrange(99)), " -.5E-3", "7."))
             for _ in range(200)]  # fmt: skip
    (tmp_path / "a.csv").write_text(",".join(texts) + "\n")
    assert numbers(texts, "a.csv", 1) == np.loadtxt(tmp_path / "a.csv", delimiter=",").tolist()


@pytest.mark.parametrize(
    "cell",
    ["nan", "NaN", "NA", "inf", "-Infinity", "1e999", "1e39", "-1e300", "", " ", "word", "1_000", "1 000", "1,5",
     "0x1F", "١٢", "１", "+-1", "1e", "null", "True", "1.2.3", "."],
)  # fmt: skip
@pytest.mark.parametrize("beside", ["1", "2.5e-3"])
def test_non_finite_number_raises_with_line_and_column(cell, beside):
    with pytest.raises(DataError, match=re.escape(f"a.csv has {cell!r} in line 5, column y, expected a")):
        numbers([beside, cell], "a.csv", 5, ["x", "y"])
    with pytest.raises(DataError, match="in line 5, column 1, expected a"):
        numbers([cell, beside], "a.csv", 5)

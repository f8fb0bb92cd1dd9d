"""Strict reading of CSV files: equal row widths, and errors with file, line and column.

All tables from users are read here.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmcl.errors import DataError
from mmcl.files.plain_json import read_text

logger = logging.getLogger(__name__)

_LARGEST = 3.4028234663852886e38  # of float32, the dtype of all tables
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_ROW_OF_NUMBERS = re.compile(r"[-+0-9.eE ,]*")  # fast path: float() reads such rows without further checks
_UNNAMED = re.compile(r"(?:Unnamed: [0-9]+(?:_level_[0-9]+)?)?")  # pandas' name for a column without a name
_WHOLE = re.compile(r"[0-9]+")


class Table(NamedTuple):
    """A table: names of the selected columns, line number and cells of each row, and names of all columns."""

    columns: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    header: tuple[str, ...]


def read_rows(path: str | Path, delimiter: str = ",") -> list[tuple[int, list[str]]]:
    """Return line number and cells of each row, without blank lines.

    The file is UTF-8, with or without a byte order mark, with ``delimiter`` between cells.

    Raises:
        MissingDataError: the file does not exist.
        DataError: the file is not UTF-8 or not CSV, or a row has another number of cells than the first.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.csv")
    >>> _ = path.write_text('a.wav,"yes, please"\\nb.wav,no, thanks\\n')
    >>> read_rows(path)
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: ...a.csv line 2 has 3 cells, expected 2 as in line 1: put quotes around a cell with a comma
    """
    text = read_text(path, newline="")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError(f"{path} line {line} has a NUL byte, expected text: copy the file again from its source")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for cells in reader:
            if cells:
                if rows and len(cells) != len(rows[0][1]):
                    raise DataError(_other_width(path, line, cells, rows[0]))
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        reason = "a quote is not closed" if "unexpected end" in str(error) else str(error)
        raise DataError(
            f"{path} line {line} is not CSV ({reason}): correct that line, or copy the file again"
        ) from None
    return rows


def _other_width(path: str | Path, line: int, cells: Sequence[str], first: tuple[int, list[str]]) -> str:
    advice = "put quotes around a cell with a comma" if len(cells) > len(first[1]) else "fill the line up"
    return f"{path} line {line} has {len(cells)} cells, expected {len(first[1])} as in line {first[0]}: {advice}"


def read_table(
    path: str | Path, wanted: Sequence[str] = (), *, required: Sequence[str] = (), delimiter: str = ","
) -> Table:
    """Read a CSV with a header row.

    Args:
        path: the file.
        wanted: columns to read if they exist; others are ignored. If empty, all columns are read, except that a column
            without a name that is empty or numbers the rows, as pandas writes it, is skipped with a warning.
        required: columns that must exist.
        delimiter: the character between cells, such as a tab.

    Raises:
        MissingDataError: the file does not exist.
        DataError: see :func:`read_rows`; or a column is missing, repeated or has no name.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.csv")
    >>> _ = path.write_text("audio,text\\na.wav,hello\\n")
    >>> read_table(path).rows
    [(2, {'audio': 'a.wav', 'text': 'hello'})]
    """
    rows = read_rows(path, delimiter)
    header = [unicodedata.normalize("NFC", name.strip()) for name in rows[0][1]] if rows else []
    if missing := [name for name in required if name not in header]:
        raise DataError(
            f"{path} has no column {', '.join(missing)}, expected {', '.join(required)}: its first line is "
            f"{', '.join(header) or 'empty'}{other_delimiter(header)}"
        )
    kept = [place for place, name in enumerate(header) if (name in wanted if wanted else _is_named(path, place, rows))]
    if repeated := [name for name, count in Counter(header[place] for place in kept).items() if count > 1]:
        raise DataError(f"{path} has more than one column {repeated[0]}, expected each once: rename or remove one")
    body = [(line, {header[place]: cells[place] for place in kept}) for line, cells in rows[1:]]
    return Table(tuple(header[place] for place in kept), body, tuple(header))


def _is_named(path: str | Path, place: int, rows: Sequence[tuple[int, list[str]]]) -> bool:
    """Return whether a column has a name; a column that has none and no information is skipped with a warning."""
    name = rows[0][1][place].strip()
    if not _UNNAMED.fullmatch(name):
        return True
    cells = [cells[place].strip() for _, cells in rows[1:]]
    counts_rows = all(map(_WHOLE.fullmatch, cells)) and len(set(cells)) == len(cells)
    if not counts_rows and any(cells):
        raise DataError(
            f"{path} has no name for column {place + 1} in line {rows[0][0]}, expected one: name it, or remove it"
        )
    what = "numbers its rows" if counts_rows and cells else "is empty"
    logger.warning("skipped column %d of %s, which has no name and %s", place + 1, path, what)
    return False


def other_delimiter(header: Sequence[str]) -> str:
    """Return a clause that names a delimiter other than commas, or an empty string if the header has none."""
    found = next((each for each in (";", "\t", "|") if len(header) == 1 and each in header[0]), None)
    advice = ": name the file .tsv" if found == "\t" else ""
    return f"; cells are separated by {found!r}, expected commas{advice}" if found else ""


def is_number(cell: str) -> bool:
    """Return whether a cell is a decimal number; ``nan`` and numbers with thousands separators are not."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def numbers(
    cells: Sequence[str], path: str | Path, line: int | str, columns: Sequence[str] | None = None
) -> list[float]:
    """Convert the cells of a row to numbers.

    Args:
        cells: decimal numbers, such as ``-1.5`` or ``2e-3``.
        path, line: file, and line number or another place such as ``"row 3"``, for errors.
        columns: names of the columns; None counts them from 1.

    Raises:
        DataError: a cell is empty, not a number, not finite, beyond float32, or has thousands separators.

    >>> numbers(["1", " 2.5e1"], "a.csv", 2), numbers(["nan"], "a.csv", 5, ["x"])
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: a.csv has 'nan' in line 5, column x, expected a finite number: fill it in, or remove the row
    """
    if _ROW_OF_NUMBERS.fullmatch(",".join(cells)):
        try:
            values = [float(cell) for cell in cells]
        except ValueError:
            pass  # the cell is named below
        else:
            if all(-_LARGEST <= value <= _LARGEST for value in values):
                return values
    place = f"line {line}" if isinstance(line, int) else line
    return [
        number(cell, f"{path} has {cell!r} in {place}, column {columns[index] if columns else index + 1}")
        for index, cell in enumerate(cells)
    ]


def number(cell: str, where: str) -> float:
    """Convert a cell to a number; ``where`` starts the message of a DataError."""
    if not _NUMBER.fullmatch(cell.strip()):
        word = cell.strip().lower() in ("nan", "na", "n/a", "null", "none", "inf", "-inf", "")
        advice = "fill it in, or remove the row" if word else "write it as 1234.5, or correct it"
        raise DataError(f"{where}, expected a {'finite ' if word else ''}number: {advice}")
    value = float(cell)
    if not (math.isfinite(value) and abs(value) <= _LARGEST):
        raise DataError(f"{where}, expected a finite number up to {_LARGEST:.1e}: correct it, or scale the column")
    return value

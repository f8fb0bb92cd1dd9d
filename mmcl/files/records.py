"""Reading of a table in any format: CSV, TSV, JSON lines, Parquet, or a folder saved by Hugging Face ``datasets``."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmcl.errors import DataError
from mmcl.files.arrow import read_parquet, read_saved
from mmcl.files.plain_csv import other_delimiter, read_table
from mmcl.files.plain_json import read_json_lines

#: suffixes of files that are read as tables
TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")


class Records(NamedTuple):
    """The rows of a table.

    Attributes:
        path: the file.
        columns: names of the columns.
        rows: place of each row, such as ``"line 2"``, and its cells. A cell is text, or in JSON and Arrow also a list,
            an object or bytes. An empty or absent cell is ``""``.
        hint: clause for errors about columns, such as on another delimiter.
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[tuple[str, dict[str, Any]]]
    hint: str = ""


def read_records(path: Path) -> Records:
    """Read a table by the suffix of its name.

    Raises:
        MissingDataError: the file does not exist, or its format needs a package that is not installed.
        DataError: the file is not a table of its format; the message names the line.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "a.jsonl")
    >>> _ = path.write_text('{"text": "hello", "label": 3}\\n{"text": "bye"}\\n')
    >>> read_records(path).rows
    [('line 1', {'text': 'hello', 'label': '3'}), ('line 2', {'text': 'bye', 'label': ''})]
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        table = read_table(path, delimiter="\t" if suffix == ".tsv" else ",")
        hint = other_delimiter(table.header) if suffix == ".csv" else ""
        return Records(path, table.columns, [(f"line {line}", dict(row)) for line, row in table.rows], hint)
    if suffix in (".jsonl", ".ndjson"):
        lines = list(read_json_lines(path))
        columns = list(dict.fromkeys(name for _, row in lines for name in row))
        return _records(path, columns, ((f"line {line}", row) for line, row in lines))
    if suffix == ".parquet":
        return _numbered(path, *read_parquet(path))
    raise DataError(f"{path} is not a table: expected a name that ends in {', '.join(TABLE_SUFFIXES)}")


def read_saved_records(folder: Path) -> dict[str, Records]:
    """Read each split of a folder saved by Hugging Face ``datasets``; a single one is named ``""``."""
    return {split: _numbered(folder / split, *found) for split, found in read_saved(folder).items()}


def _numbered(path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> Records:
    return _records(path, columns, ((f"row {number}", row) for number, row in enumerate(rows, start=1)))


def _records(path: Path, columns: Sequence[str], rows: Iterable[tuple[str, dict[str, Any]]]) -> Records:
    named = {name: unicodedata.normalize("NFC", name.strip()) for name in columns}
    if repeated := [name for name, count in Counter(named.values()).items() if count > 1]:
        raise DataError(f"{path} has more than one column {repeated[0]}, expected each once: rename or remove one")
    cells = [(place, {name: _cell(row.get(column)) for column, name in named.items()}) for place, row in rows]
    return Records(path, tuple(named.values()), cells)


def _cell(value: object) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, (str, bytes, list, dict)) else str(value)

"""Tables of user data: one file, a folder with one per split, or a folder saved by Hugging Face ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmcl.errors import DataError, MissingDataError
from mmcl.files.arrow import SAVED, SAVED_SPLITS
from mmcl.files.records import TABLE_SUFFIXES, Records, read_records, read_saved_records
from mmcl.text.suggest import nearest

_SHARD = re.compile(r"-[0-9]{5}-of-[0-9]{5}$")  # ends the names of files of one split on the Hugging Face hub


class Tables(NamedTuple):
    """Tables of user data by name, and their ``layout`` as in :class:`~mmcl.data.own_rows.OwnRows`."""

    layout: str
    tables: dict[str, Records]


def read_tables(root: Path) -> Tables | None:
    """Return the table ``root``, the tables in it, or the splits saved in it; None if it is a folder without tables.

    Raises:
        MissingDataError: ``root`` does not exist.
        DataError: a table cannot be read.
    """
    if not root.exists():
        raise MissingDataError(f"there is no file or folder {root}: check the path")
    if root.is_dir() and ((root / SAVED_SPLITS).is_file() or (root / SAVED).is_file()):
        return Tables("saved", read_saved_records(root))
    if not root.is_dir():
        return Tables("table", {"": read_records(root)})
    paths = sorted(path for path in root.iterdir() if _is_table(path))
    return Tables("tables", {str(path): read_records(path) for path in paths}) if paths else None


def split_of_table(found: Tables, name: str) -> str:
    """Return the split that the name of a table states; an empty string for a single table."""
    return _SHARD.sub("", Path(name).stem) if found.layout == "tables" else name


def renamed(table: Records, columns: Mapping[str, str | None], known: Sequence[str]) -> Records:
    """Return a table with its columns named by their meaning.

    Args:
        table: the table.
        columns: name of each column in the file by its meaning; None for a column to leave out.
        known: all meanings.

    Raises:
        DataError: a meaning is unknown, or the table lacks a column.
    """
    for meaning, name in columns.items():
        if meaning not in known:
            raise DataError(f"columns has {meaning!r}{nearest(meaning, known)}, expected some of {', '.join(known)}")
        if name is not None and name not in table.columns:
            raise DataError(
                f"{table.path} has no column {name}{nearest(name, table.columns)}, which columns names as {meaning}: "
                f"expected one of {', '.join(table.columns)}"
            )
    if not columns:
        return table
    new = {name: meaning for meaning, name in columns.items() if name is not None}
    kept = [name for name in table.columns if name in new or name not in columns]
    rows = [(place, {new.get(name, name): cells[name] for name in kept}) for place, cells in table.rows]
    return table._replace(columns=tuple(new.get(name, name) for name in kept), rows=rows)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in TABLE_SUFFIXES and not path.name.startswith(".") and path.is_file()

"""Rows of user data in any layout: one table, a folder of tables, label folders, or a saved ``datasets`` folder."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmcl.data.audio_formats import AUDIO_SUFFIXES
from mmcl.data.base import Entity, logger
from mmcl.data.folders import files_below
from mmcl.data.own_cells import check_target, entities_in, number_in, stored_file, text_in
from mmcl.data.own_tables import Tables, read_tables, renamed, split_of_table
from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_csv import is_number, numbers
from mmcl.files.plain_json import read_text
from mmcl.files.records import TABLE_SUFFIXES, Records
from mmcl.text.suggest import nearest
from mmcl.text.words import composed

FILES = ("audio", "image")  #: columns of paths
TEXTS = ("text", "transcript")  #: columns of words; a table has at most one
OPTIONAL = ("transcript", "speaker", "entities", "rationale")  #: columns that may have empty cells
KNOWN = (*FILES, *TEXTS, "label", "split", *OPTIONAL[1:])  #: columns with a meaning; all others are numbers
SUFFIXES = {"audio": AUDIO_SUFFIXES, "image": (".jpg", ".jpeg", ".png", ".webp", ".gif"), "text": (".txt",)}
_SAME = ({"train", "training"}, {"valid", "validation", "val", "dev", "devel"}, {"test", "testing", "eval"})

#: called with each row's fault; None raises it
Faults = Callable[[DataError], None]


@dataclass(frozen=True)
class OwnRow:
    """One sample: its place in ``source``, and the content of its cells."""

    source: Path
    place: str
    label: str
    files: Mapping[str, Path] = field(default_factory=dict)
    written: tuple[str, ...] = ()  # paths as they are written
    text: str = ""
    speaker: str = ""
    entities: tuple[Entity, ...] = ()
    rationale: str = ""
    numbers: tuple[float, ...] = ()
    target: float | None = None
    cells: tuple[str, ...] = ()  # all cells, to find equal rows

    @property
    def unit(self) -> str:
        """A key that is equal for rows of the same files, text and numbers."""
        return "\0".join((*self.written, *(() if self.written else (self.text, *map(repr, self.numbers)))))


class OwnRows(NamedTuple):
    """User data in memory.

    Attributes:
        layout: ``"table"``, ``"tables"`` (a folder with one per split), ``"labels"`` (label folders) or ``"saved"``.
        columns: columns that are used.
        numbers: columns of numbers.
        splits: rows of each split; one split ``""`` if no splits are given.
    """

    layout: str
    columns: tuple[str, ...]
    numbers: tuple[str, ...]
    splits: dict[str, list[OwnRow]]


def same_split(split: str, known: Sequence[str]) -> str | None:
    """Return ``split``, or a split of the same meaning, such as ``dev`` for ``valid``; None if there is none.

    >>> same_split("valid", ["train", "dev"]), same_split("test", ["train"])
    ('dev', None)
    """
    if split in known:
        return split
    return next((each for each in known if any({split, each} <= names for names in _SAME)), None)


def read_own(
    root: Path,
    columns: Mapping[str, str | None] | None = None,
    *,
    labelled: bool = True,
    target: str | None = None,
    faults: Faults | None = None,
) -> OwnRows:
    """Read user data, without decoding recordings or images.

    Args:
        root: a file, or a folder.
        columns: names of columns in the file by their meaning, such as ``{"label": "intent"}``; None for a column that
            is not read.
        labelled: if False, tables need no column ``label``.
        target: column of numbers to predict, which is then no view; a column ``label`` is not read. None for none.
        faults: function that is called with the fault of each row, which is then skipped.

    Raises:
        MissingDataError: ``root`` does not exist, or holds no data.
        DataError: a table cannot be read; the message names the file, the place and the column.
    """
    if target is not None:
        columns, labelled = {**({} if target == "label" else {"label": None}), **(columns or {})}, False
    found = read_tables(root)
    if found is None and target is not None:
        raise DataError(f"{root} has folders of labels and no column {target}: list its files in a table")
    if found is None:
        return _of_label_folders(root)
    folder = root.parent if found.layout == "table" else root
    return _of_tables(found, folder, columns or {}, labelled, target, faults)


def _of_tables(
    found: Tables,
    folder: Path,
    columns: Mapping[str, str | None],
    labelled: bool,
    target: str | None,
    faults: Faults | None,
) -> OwnRows:
    """Return the rows of tables with equal columns; a column ``split`` overrides the name of the table."""
    read = {name: renamed(table, columns, KNOWN) for name, table in found.tables.items()}
    first = next(iter(read.values()))
    for table in read.values():
        if target is not None:
            check_target(table, target, KNOWN)
        _check_columns(table, labelled, target)
        if table.columns != first.columns and found.layout != "saved":
            raise DataError(
                f"{table.path} has columns {', '.join(table.columns)} and {first.path} {', '.join(first.columns)}: "
                "expected the same columns in every file"
            )
    counted = _columns_of_numbers(list(read.values()), target)
    splits: dict[str, list[OwnRow]] = {}
    for name, table in read.items():
        stem = split_of_table(found, name)
        for place, cells in table.rows:
            try:
                split = text_in(table, place, cells, "split") if "split" in table.columns else stem
                splits.setdefault(split, []).append(_row(table, place, cells, folder, counted, target))
            except DataError as fault:
                if faults is None:
                    raise
                faults(fault)
    used = tuple(name for name in first.columns if name in (*KNOWN, *counted, target))
    return OwnRows(found.layout, used, counted, splits)


def _check_columns(table: Records, labelled: bool, target: str | None) -> None:
    columns = table.columns
    views = [name for name in columns if name not in ("label", "split", *OPTIONAL[1:], target)]
    if (labelled and "label" not in columns) or not views:
        hint = nearest("label", columns) if "label" not in columns else ""
        advice = "" if not columns or hint else ": rename a column, or set columns={label: NAME}"
        advice += "; pairs need no label: labelled=false" if views and advice else ""
        raise DataError(
            f"{table.path} has columns {', '.join(columns) or 'none'}{hint}, expected label, and audio, image, text or "
            f"numbers{table.hint or advice}"
        )
    if "text" in columns and "transcript" in columns:
        raise DataError(f"{table.path} has columns text and transcript, expected one of them: remove the other")
    if not table.rows:
        raise DataError(f"{table.path} has no rows, expected at least one below its header")


def _columns_of_numbers(tables: Sequence[Records], target: str | None) -> tuple[str, ...]:
    """Return the columns of numbers; other columns without a meaning are skipped with a warning."""
    counted, skipped = [], []
    for name in (name for name in tables[0].columns if name not in (*KNOWN, target)):
        cells = [row[name] for table in tables for _, row in table.rows]
        if any(isinstance(cell, str) and is_number(cell) for cell in cells):
            counted.append(name)
        else:
            skipped.append(name)
    if skipped:
        logger.warning("skipped column %s of %s, without numbers", ", ".join(skipped), tables[0].path)
    return tuple(counted)


def _row(
    table: Records, place: str, cells: Mapping[str, Any], folder: Path, counted: Sequence[str], target: str | None
) -> OwnRow:
    texts: dict[str, str] = {}
    for name in table.columns:
        if name in KNOWN and name not in (*FILES, "entities"):
            texts[name] = text_in(table, place, cells, name, empty=name in OPTIONAL)
    files: dict[str, Path] = {}
    written = []
    for name in (name for name in FILES if name in table.columns):
        given = stored_file(cells[name]) or text_in(table, place, cells, name)
        files[name] = given if isinstance(given, Path) else _path(folder, given, table, place, name)
        written.append(given.name if isinstance(given, Path) else given)
    vector = [text_in(table, place, cells, name) for name in counted]
    values = numbers(vector, table.path, place, counted) if vector else ()
    wanted = () if target is None else (number_in(table, place, cells, target),)
    where = f"{table.path} has %s in {place}, column entities"
    return OwnRow(
        table.path,
        place,
        texts.get("label", "") if target is None else "",
        files,
        tuple(written),
        composed(texts.get("text") or texts.get("transcript") or ""),
        texts.get("speaker", ""),
        entities_in(cells["entities"], where) if "entities" in table.columns else (),
        composed(texts.get("rationale", "")),
        tuple(values),
        wanted[0] if wanted else None,
        (*written, *texts.values(), *vector, *map(repr, wanted)),
    )


def _path(folder: Path, written: str, table: Records, place: str, column: str) -> Path:
    """Return the path of a file: relative to the folder of the table and within it, or absolute."""
    depth = 0
    for part in Path(written).parts:
        depth += 0 if part == "." else -1 if part == ".." else 1
        if depth < 0:
            raise DataError(
                f"{table.path} has {written!r:.200} in {place}, column {column}, which leads out of its folder: move "
                "the file into the folder, or write an absolute path"
            )
    path = folder / written
    if os.path.isfile(path):
        return path
    others = (folder / unicodedata.normalize(form, written) for form in ("NFC", "NFD"))  # macOS writes accents apart
    return next((other for other in others if os.path.isfile(other)), path)


def _of_label_folders(root: Path) -> OwnRows:
    """Return the files of ``LABEL/...`` or ``SPLIT/LABEL/...``; a ``.txt`` beside a recording or image is its text."""
    kinds = {path: kind for path in files_below(root) for kind in SUFFIXES if path.suffix.lower() in SUFFIXES[kind]}
    main = next((kind for kind in SUFFIXES if kind in kinds.values()), None)
    if main is None:
        raise MissingDataError(
            f"{root} has no data: expected a table ({', '.join(TABLE_SUFFIXES)}), a folder of recordings, images or "
            "texts for each label, or a folder saved by Hugging Face datasets"
        )
    if {"audio", "image"} <= set(kinds.values()):
        raise DataError(f"{root} has recordings and images, expected one of them: list both in one table")
    paths = [path for path, kind in kinds.items() if kind == main]
    parts = {path: path.relative_to(root).parts for path in paths}
    if short := [path for path in paths if len(parts[path]) < 2]:
        raise DataError(f"{short[0]} is in no folder of a label: move it to {root / 'LABEL' / short[0].name}")
    tops = {each[0] for each in parts.values()}
    by_split = all(any(top in names for names in _SAME) for top in tops) and min(map(len, parts.values())) > 2
    splits: dict[str, list[OwnRow]] = {}
    for path in paths:
        split, label = parts[path][:2] if by_split else ("", parts[path][0])
        written, text = str(path.relative_to(root)), path.with_suffix(".txt")
        said = composed(read_text(text).strip()) if text.is_file() else ""
        if main == "text" and not said:
            raise DataError(f"{path} has no text, expected words: fill it in, or remove it")
        own = {} if main == "text" else {main: path}
        row = OwnRow(root, written, label, own, (written,), said, cells=(written, said))
        splits.setdefault(split, []).append(row)
    has_texts = main == "text" or any(row.text for rows in splits.values() for row in rows)
    columns = (*(() if main == "text" else (main,)), *(("text",) if has_texts else ()), "label")
    return OwnRows("labels", columns, (), splits)


def all_rows(own: OwnRows) -> Iterator[OwnRow]:
    """Yield the rows of every split."""
    for rows in own.splits.values():
        yield from rows

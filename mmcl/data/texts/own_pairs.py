"""Text pairs of user data: a CSV, TSV, JSON lines or Parquet file, or a folder saved by Hugging Face ``datasets``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmcl.data.base import logger
from mmcl.data.made_splits import SHARES, by_class
from mmcl.data.own_cells import text_in
from mmcl.data.own_rows import same_split
from mmcl.data.own_tables import Tables, read_tables, renamed, split_of_table
from mmcl.data.texts.text_pairs import TextPairs
from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_csv import number
from mmcl.files.records import Records
from mmcl.text.suggest import nearest
from mmcl.text.words import tidy

_TEXTS = ("query", "passage", "negative")
_COLUMNS = (*_TEXTS, "score", "split")


class OwnPairs(TextPairs):
    """Read pairs, triples or graded pairs of texts from user data.

    ``root`` is one table (CSV, TSV, ``.jsonl`` or Parquet), a folder with one table per split, or a folder saved by
    Hugging Face ``datasets``. Columns are ``query`` and ``passage``. Optional are ``negative`` (a passage that does
    not match), ``score`` (a number, higher for more similar texts) and ``split``. Other columns are not read.

    Rows without a score are skipped and counted with a warning, if there is a column ``score``. Missing splits are
    drawn as for :class:`~mmcl.data.LabelledTable`, so that all rows of a query are in one split.

    Args:
        root: file or folder.
        split: name of the split.
        columns: name of each column in the file by its meaning, such as ``{"query": "anchor"}``.
        split_seed: seed of the splits that are drawn.

    Raises:
        MissingDataError: the file or folder or the split does not exist.
        DataError: a column is missing, a text is empty, a score is not a number, or the split has no pairs. The message
            names the line.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        columns: Mapping[str, str | None] | None = None,
        split_seed: int = 0,
    ) -> None:
        self.root, self.split = Path(root).expanduser(), split
        found = read_tables(self.root)
        if found is None:
            raise MissingDataError(f"{self.root} has no tables, expected a table with columns query and passage")
        rows = _with_made_splits(_rows(found, columns or {}), found.layout, split_seed)
        names = list(dict.fromkeys(row.split for row in rows))
        name = same_split(split, names)
        if name is None:
            raise MissingDataError(
                f"{self.root} has no split '{split}'{nearest(split, names)}: expected one of {', '.join(names)}"
            )
        own = [row for row in rows if row.split == name]
        kept = [row for row in own if row.score is None or row.score.strip()]
        self.skipped = len(own) - len(kept)
        if self.skipped:
            logger.warning("skipped %d of %d rows of %s without a score", self.skipped, len(own), self.root)
        if not kept:
            raise DataError(f"{self.root} has no pairs in split '{split}', expected rows with a score: fill it in")
        first, second, *negatives = (list(column) for column in zip(*(row.texts for row in kept), strict=True))
        scores = [number(row.score, row.where) for row in kept if row.score is not None]
        super().__init__(first, second, negatives[0] if negatives else None, scores or None)


class _Row(NamedTuple):
    """The texts of a row, its score as it is written (None without a column), its split, and its place for errors."""

    texts: tuple[str, ...]
    score: str | None
    split: str
    where: str


def _rows(found: Tables, columns: Mapping[str, str | None]) -> list[_Row]:
    rows = []
    tables = {name: renamed(table, columns, _COLUMNS) for name, table in found.tables.items()}
    kinds = {name: tuple(each for each in _COLUMNS[:-1] if each in table.columns) for name, table in tables.items()}
    if len(set(kinds.values())) > 1:
        raise DataError(
            f"tables have columns {' and '.join(', '.join(kind) or 'none' for kind in sorted(set(kinds.values())))}: "
            "expected the same in every split"
        )
    for name, table in tables.items():
        if missing := [each for each in _TEXTS[:2] if each not in table.columns]:
            raise DataError(
                f"{table.path} has no column {missing[0]}{nearest(missing[0], table.columns)}, expected query and "
                f"passage{table.hint or ': rename a column, or set columns={query: NAME, passage: NAME}'}"
            )
        rows += [_row(table, place, cells, split_of_table(found, name)) for place, cells in table.rows]
    if not rows:
        raise DataError(f"{next(iter(tables.values())).path} has no rows, expected at least one below its header")
    return rows


def _row(table: Records, place: str, cells: Mapping[str, Any], split: str) -> _Row:
    texts = tuple(tidy(text_in(table, place, cells, name)) for name in _TEXTS if name in table.columns)
    score = text_in(table, place, cells, "score", empty=True) if "score" in table.columns else None
    split = text_in(table, place, cells, "split") if "split" in table.columns else split
    return _Row(texts, score, split, f"{table.path} has {score!r} in {place}, column score")


def _with_made_splits(rows: list[_Row], layout: str, seed: int) -> list[_Row]:
    """Draw the splits that are missing from the rows of ``train``; a folder of tables is used as it is."""
    names = list(dict.fromkeys(row.split for row in rows))
    source = "" if names == [""] else same_split("train", names)
    missing = [name for name in SHARES if same_split(name, names) is None]
    if layout == "tables" or source is None or not missing:
        return rows
    own = [row for row in rows if row.split == source]
    drawn = by_class(["pair"] * len(own), [row.texts[0] for row in own], missing, seed)
    made = [
        row._replace(split=source or "train" if name == "train" else name) for row, name in zip(own, drawn, strict=True)
    ]
    return [*made, *(row for row in rows if row.split != source)]

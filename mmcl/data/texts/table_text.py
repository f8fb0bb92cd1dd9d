"""Texts of user data as exercises, with optional rationales."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mmcl.data.labelled_table import LabelledTable
from mmcl.data.texts.exercises import Exercise, Exercises, Rationale
from mmcl.errors import DataError

TEACHER = "table"  #: teacher of the rationales in a table


class TableText(Exercises):
    """Read the texts of user data as exercises; the answer is the label, and the choices are all classes.

    A column ``rationale`` holds the explanation of each label; it may be empty.

    Args:
        root: file or folder, see :class:`~mmcl.data.LabelledTable`.
        split: name of the split.
        size: keep at most the first ``size`` exercises; None keeps all.
        columns, split_seed, by_speaker: see :class:`~mmcl.data.LabelledTable`.

    Raises:
        DataError: there is no column ``text`` or ``transcript``, a row has no text, or see ``LabelledTable``.
        MissingDataError: see ``LabelledTable``.
    """

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        size: int | None = None,
        *,
        columns: Mapping[str, str | None] | None = None,
        split_seed: int = 0,
        by_speaker: bool = True,
    ) -> None:
        table = LabelledTable(root, split, columns=columns, split_seed=split_seed, by_speaker=by_speaker)
        if "text" not in table.modalities:
            raise DataError(f"{root} has no column text, expected one: rename a column, or set columns={{text: NAME}}")
        if silent := [row for row in table.rows if not row.text]:
            raise DataError(f"{silent[0].source} has no text in {silent[0].place}: fill it in")
        self.root, self.split, self.part = table.root, split, split
        self.total = len(table)
        self.rows = list(range(self.total))[:size]
        self.unparsed, self.outside = {TEACHER: 0}, {TEACHER: 0}
        self.exercises = []
        for index in self.rows:
            row, label = table.rows[index], table.classes[table.labels[index]]
            given = (Rationale(row.rationale, label, TEACHER),) if row.rationale else ()
            self.exercises.append(Exercise(f"{split}-{index}", row.text, label, table.classes, given))

    def _read(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        return [(each.id, each.question, each.label, each.choices) for each in self.exercises]

    @classmethod
    def parse(cls, completion: str) -> tuple[str, str | None]:
        """Return the completion as explanation; tables hold no completions of language models."""
        return completion, None

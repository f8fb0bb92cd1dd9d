"""Exercises with fixed choices as a classification data set of texts."""

from __future__ import annotations

from collections.abc import Sequence

from mmcl.batch import Sample
from mmcl.data.texts.exercises import Exercises
from mmcl.errors import DataError


class LabelledExercises:
    """Turn exercises with fixed choices, such as ``slurp_text`` or ``esnli``, into texts with labels.

    Rows keep their order. A sample has ``id``, ``text`` (the question) and ``label`` (the index of the answer among the
    choices), so :func:`~mmcl.data.streams.class_incremental` can make streams of them.

    Args:
        exercises: exercises that all have the same choices.

    Raises:
        DataError: choices differ or are empty, or a label is not among them.
    """

    def __init__(self, exercises: Exercises) -> None:
        choices = {each.choices for each in exercises.exercises}
        name = type(exercises).__name__
        if len(choices) != 1 or not (classes := next(iter(choices))):
            raise DataError(
                f"exercises of {name} have {len(choices)} sets of choices, expected one set for all: the classes"
            )
        numbers = {name: number for number, name in enumerate(classes)}
        if strange := [each.label for each in exercises.exercises if each.label not in numbers]:
            raise DataError(
                f"{len(strange)} labels of {name} are not among the choices, first '{strange[0]}': copy its files again"
            )
        self.exercises = exercises
        self.classes = classes
        self.labels = [numbers[each.label] for each in exercises.exercises]
        self.texts = [each.question for each in exercises.exercises]
        self.superclasses: Sequence[str] = exercises.superclasses

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return {"id": self.exercises[index].id, "text": self.texts[index], "label": self.labels[index]}

"""LabelledExercises: exercises whose choices are always the same, as a data set of texts with classes."""

from __future__ import annotations

from mmcl.batch import Sample
from mmcl.data.texts.exercises import Exercises
from mmcl.errors import DataError


class LabelledExercises:
    """Texts with labels, made of exercises such as those of ``slurp_text`` or ``esnli``; rows stay what they were.

    A sample has ``id``, ``text`` (the question) and ``label`` (the number of the answer among the choices), so that
    :func:`~mmcl.data.streams.class_incremental` makes streams of them.

    Args:
        exercises: with the same choices each.

    Raises:
        DataError: choices differ, or there are none.
    """

    def __init__(self, exercises: Exercises) -> None:
        choices = {each.choices for each in exercises.exercises}
        name = type(exercises).__name__
        if len(choices) != 1 or not (classes := next(iter(choices))):
            raise DataError(
                f"exercises of {name} have {len(choices)} sets of choices, expected the same of all: classes"
            )
        numbers = {name: number for number, name in enumerate(classes)}
        if strange := [each.label for each in exercises.exercises if each.label not in numbers]:
            raise DataError(
                f"{len(strange)} labels of {name} are no choices, first '{strange[0]}': copy its files again"
            )
        self.exercises = exercises
        self.classes = classes
        self.labels = [numbers[each.label] for each in exercises.exercises]
        self.texts = [each.question for each in exercises.exercises]
        self.superclasses: tuple[str, ...] = getattr(exercises, "superclasses", ())

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        return {"id": self.exercises[index].id, "text": self.texts[index], "label": self.labels[index]}

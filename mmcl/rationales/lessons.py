"""Lessons, the training samples of a student, and batches of lessons of similar length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from mmcl.data.samplers.length import length_batches
from mmcl.data.texts.exercises import Exercises
from mmcl.rationales.voting import vote

PREDICT, EXPLAIN = "predict: ", "explain: "
ANSWER = "The answer is"  #: text between rationale and answer in single_task
_BUCKET = 16  # batches per bucket; lessons are sorted by length within a bucket


class Lesson(NamedTuple):
    """Training sample of a student.

    Attributes:
        question: question of the exercise.
        label: correct answer.
        rationale: rationale of the first teacher, empty without teachers.
        positives: good rationales.
        negatives: bad rationales.
    """

    question: str
    label: str
    rationale: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def length(self) -> int:
        """Number of characters in the question and the longest target."""
        return len(self.question) + max(map(len, (self.rationale, *self.positives, self.label)))


def lessons_of(exercises: Exercises, *, use_label: bool = False) -> list[Lesson]:
    """Return a lesson for each exercise.

    As in Distilling step-by-step, ``rationale`` is the first teacher's, whatever its answer. A rationale whose answer
    could not be parsed is neither good nor bad.

    Args:
        exercises: exercises with rationales.
        use_label: see :func:`~mmcl.rationales.voting.vote`, which selects good and bad rationales.

    >>> from mmcl.data.texts.exercises import Exercise, Rationale
    >>> class One(Exercises):
    ...     _read = parse = None
    ...     def __init__(self):
    ...         self.exercises = [Exercise("1", "2 + 2?", "4", (), (Rationale("2 and 2", "4", "llm"),))]
    >>> lessons_of(One())
    [Lesson(question='2 + 2?', label='4', rationale='2 and 2', positives=('2 and 2',), negatives=())]
    """
    lessons = []
    for exercise in exercises.exercises:
        voted = vote(exercise, exercises.same, use_label=use_label)
        first = exercise.rationales[0].text if exercise.rationales else ""
        lessons.append(Lesson(exercise.question, exercise.label, first, voted.positives, voted.negatives))
    return lessons


def batches_by_length(lessons: Sequence[Lesson], batch_size: int, draw: random.Random) -> list[list[int]]:
    """Return the rows of an epoch's batches: lessons of similar length share a batch, batches are shuffled.

    >>> lessons = [Lesson("?" * size, "", "", (), ()) for size in (5, 50, 6, 60)]
    >>> sorted(map(sorted, batches_by_length(lessons, 2, random.Random(0))))
    [[0, 2], [1, 3]]
    """
    order = draw.sample(range(len(lessons)), len(lessons))
    lengths = [lesson.length for lesson in lessons]
    batches = length_batches(order, lengths, batch_size=batch_size, bucket=_BUCKET)
    draw.shuffle(batches)
    return batches

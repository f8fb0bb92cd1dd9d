"""Lessons: what a student is taught of each question, and batches of them of nearly one length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from mmcl.data.samplers.length import length_batches
from mmcl.data.texts.exercises import Exercises
from mmcl.rationales.voting import vote

PREDICT, EXPLAIN = "predict: ", "explain: "
ANSWER = "The answer is"  #: stands before the answer where a student writes its rationale first
_BUCKET = 16  # batches that are sorted by length together


class Lesson(NamedTuple):
    """A ``question`` and its ``label``; the ``rationale`` of the first teacher, and all that are good or bad."""

    question: str
    label: str
    rationale: str
    positives: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def length(self) -> int:
        """Characters that are read and written, by which batches are sorted."""
        return len(self.question) + max(map(len, (self.rationale, *self.positives, self.label)))


def lessons_of(exercises: Exercises, *, use_label: bool = False) -> list[Lesson]:
    """Return a lesson for each exercise.

    The first rationale is the first teacher's, whatever it answers, as Distilling step-by-step trains on it; good and
    bad ones are those of :func:`~mmcl.rationales.voting.vote`, which ``use_label`` is of. Rationales without an answer
    that can be read are in the first place alone.

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
    """Return the rows of an epoch's batches, all in a random order, those of a batch of nearly one length.

    >>> lessons = [Lesson("?" * size, "", "", (), ()) for size in (5, 50, 6, 60)]
    >>> sorted(map(sorted, batches_by_length(lessons, 2, random.Random(0))))
    [[0, 2], [1, 3]]
    """
    order = draw.sample(range(len(lessons)), len(lessons))
    lengths = [lesson.length for lesson in lessons]
    batches = length_batches(order, lengths, batch_size=batch_size, bucket=_BUCKET)
    draw.shuffle(batches)
    return batches

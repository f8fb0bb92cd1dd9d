"""Self-consistency: of several rationales of a question, those whose answer most agree on are good, others are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmcl.data.texts.exercises import Exercise, Exercises


class Voted(NamedTuple):
    """Good and bad rationales of an exercise, as texts, and the answer that was voted for, None without any."""

    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    answer: str | None


def vote(exercise: Exercise, same: Callable[[str], str | float] = str, *, use_label: bool = False) -> Voted:
    """Sort the rationales of an exercise by their answers.

    QCRD (Wang et al., arXiv 2405.13014): rationales of the answer that most of them have are good, those of all other
    answers bad. Readings: the label has no say in it; where two answers have as many, the one that comes first is
    taken; a rationale without an answer that can be read, or without words, is neither.

    Args:
        exercise: with rationales.
        same: what answers that mean the same have in common, ``same`` of the exercises.
        use_label: take those whose answer is the label for good ones instead, and all others for bad.

    >>> from mmcl.data.texts.exercises import Rationale
    >>> said = [("16 of 20", "4"), ("20 - 16", "4"), ("20 + 16", "36"), ("well", None)]
    >>> rationales = tuple(Rationale(text, answer, "llm") for text, answer in said)
    >>> vote(Exercise("1", "?", "4", (), rationales))
    Voted(positives=('16 of 20', '20 - 16'), negatives=('20 + 16',), answer='4')
    """
    read = [(each.text, each.answer) for each in exercise.rationales if each.answer is not None and each.text]
    if not read:
        return Voted((), (), None)
    counts = Counter(same(answer) for _, answer in read)
    chosen = same(exercise.label) if use_label else max(counts, key=counts.__getitem__)  # of equals, the first
    positives = tuple(dict.fromkeys(text for text, answer in read if same(answer) == chosen))
    negatives = tuple(dict.fromkeys(text for text, answer in read if same(answer) != chosen))
    answer = next((answer for _, answer in read if same(answer) == chosen), None)
    return Voted(positives, tuple(text for text in negatives if text not in positives), answer)


class Counts(NamedTuple):
    """What a vote came to over all exercises.

    How many exercises there are, and good and bad rationales; how many exercises have a bad one, and none at all; how
    often the answer that was voted for is the label.
    """

    exercises: int
    positives: int
    negatives: int
    with_negatives: int
    without_any: int
    right: int


def vote_all(exercises: Exercises, *, use_label: bool = False) -> tuple[list[Voted], Counts]:
    """Sort the rationales of all exercises, see :func:`vote`, and count them."""
    voted = [vote(exercise, exercises.same, use_label=use_label) for exercise in exercises.exercises]
    return voted, count(voted, exercises)


def count(voted: Sequence[Voted], exercises: Exercises) -> Counts:
    """Count what a vote came to."""
    labels = [exercises.same(exercise.label) for exercise in exercises.exercises]
    return Counts(
        len(voted),
        sum(len(each.positives) for each in voted),
        sum(len(each.negatives) for each in voted),
        sum(bool(each.negatives) for each in voted),
        sum(not each.positives and not each.negatives for each in voted),
        sum(
            each.answer is not None and exercises.same(each.answer) == label
            for each, label in zip(voted, labels, strict=True)
        ),
    )

"""Self-consistency voting: rationales with the majority answer of a question are good, the others are bad."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mmcl.data.texts.exercises import Exercise, Exercises


class Voted(NamedTuple):
    """Result of a vote on the rationales of an exercise.

    Attributes:
        positives: texts of the good rationales.
        negatives: texts of the bad rationales.
        answer: answer of the good rationales, None without any.
    """

    positives: tuple[str, ...]
    negatives: tuple[str, ...]
    answer: str | None


def vote(exercise: Exercise, same: Callable[[str], str | float] = str, *, use_label: bool = False) -> Voted:
    """Split the rationales of an exercise into good and bad ones by majority vote.

    Rationales with the majority answer are good, all others bad: QCRD, Wang et al., arXiv 2405.13014. The paper leaves
    details open; here the label does not count as a vote, the first answer wins a tie, and a rationale that is empty or
    without a parsed answer is neither good nor bad.

    Args:
        exercise: exercise with rationales.
        same: normalization under which equivalent answers are equal, such as ``exercises.same``.
        use_label: good rationales are those whose answer is the label, instead of the majority answer.

    >>> from mmcl.data.texts.exercises import Rationale
    >>> said = [("16 of 20", "4"), ("20 - 16", "4"), ("20 + 16", "36"), ("well", None)]
    >>> rationales = tuple(Rationale(text, answer, "llm") for text, answer in said)
    >>> vote(Exercise("1", "?", "4", (), rationales))
    Voted(positives=('16 of 20', '20 - 16'), negatives=('20 + 16',), answer='4')
    """
    parsed = [(each.text, each.answer) for each in exercise.rationales if each.answer is not None and each.text]
    if not parsed:
        return Voted((), (), None)
    counts = Counter(same(answer) for _, answer in parsed)
    chosen = same(exercise.label) if use_label else max(counts, key=counts.__getitem__)  # max takes the first of a tie
    positives = tuple(dict.fromkeys(text for text, answer in parsed if same(answer) == chosen))
    negatives = tuple(dict.fromkeys(text for text, answer in parsed if same(answer) != chosen))
    answer = next((answer for _, answer in parsed if same(answer) == chosen), None)
    return Voted(positives, tuple(text for text in negatives if text not in positives), answer)


class Counts(NamedTuple):
    """Counts over the votes of all exercises.

    Attributes:
        exercises: number of exercises.
        positives: number of good rationales.
        negatives: number of bad rationales.
        with_negatives: number of exercises with a bad rationale.
        without_any: number of exercises without good and bad rationales.
        right: number of exercises whose voted answer is the label.
    """

    exercises: int
    positives: int
    negatives: int
    with_negatives: int
    without_any: int
    right: int


def vote_all(exercises: Exercises, *, use_label: bool = False) -> tuple[list[Voted], Counts]:
    """Apply :func:`vote` to all exercises, and count the results."""
    voted = [vote(exercise, exercises.same, use_label=use_label) for exercise in exercises.exercises]
    return voted, count(voted, exercises)


def count(voted: Sequence[Voted], exercises: Exercises) -> Counts:
    """Return the counts of votes, one for each exercise."""
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

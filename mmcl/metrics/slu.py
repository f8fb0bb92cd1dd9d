"""Metrics of spoken language understanding: word error rate of transcripts, SLU-F1 of entities.

Texts are compared literally, including case and punctuation: normalize both sides beforehand. Only Unicode composition
is unified (normal form C).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, get_type_hints

import jiwer
from rapidfuzz.distance import Levenshtein  # the edit distance that jiwer uses

from mmcl.errors import InputError, ShapeError
from mmcl.text.words import composed

Entities = Sequence[Sequence[tuple[str, str]]]  #: (type, value) pairs of each utterance, as mmcl.data.base.Entity


class SpanCounts(NamedTuple):
    """Numbers of correct, spurious and missed entities; fractional for partly correct values."""

    true_positives: float
    false_positives: float
    false_negatives: float

    @property
    def precision(self) -> float:
        """``TP / (TP + FP)``, 0 without a true positive."""
        return self.true_positives and self.true_positives / (self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """``TP / (TP + FN)``, 0 without a true positive."""
        return self.true_positives and self.true_positives / (self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: ``2 TP / (2 TP + FP + FN)``, 0 without a true positive."""
        doubled = 2 * self.true_positives
        return doubled and doubled / (doubled + self.false_positives + self.false_negatives)


class EntityScores(NamedTuple):
    """Counts for both distances between values, whose sum gives SLU-F1."""

    words: SpanCounts
    characters: SpanCounts

    @property
    def combined(self) -> SpanCounts:
        """Sum of both counts; its ``f1`` is SLU-F1."""
        return SpanCounts(*(word + character for word, character in zip(self.words, self.characters, strict=True)))


EntityScores.__annotations__.update(get_type_hints(EntityScores))  # documentation tools cannot resolve the names


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the word edits of all utterances divided by the number of reference words: ``(S + D + I) / (S + D + H)``.

    Substitutions, deletions, insertions and hits are those of the shortest edit, by jiwer. The rate may exceed 1. If a
    reference is empty, the words of its hypothesis are insertions.

    Args:
        references: true transcripts, one per utterance.
        hypotheses: predicted transcripts in the same order.

    Raises:
        ShapeError: there are no utterances, or the numbers of references and hypotheses differ.
        InputError: no reference has a word.

    >>> word_error_rate(["wake me at nine", "stop"], ["wake me at five", "please stop"])  # (1 + 1) / (4 + 1)
    0.4
    """
    _check_paired(references, hypotheses)
    edits = jiwer.process_words(list(map(composed, references)), list(map(composed, hypotheses)))
    if not edits.hits + edits.substitutions + edits.deletions:
        raise InputError(f"none of the {len(references)} references has a word, expected one to divide the edits by")
    return float(edits.wer)


def slu_f1(references: Entities, hypotheses: Entities) -> float:
    """Return SLU-F1, which gives partial credit for nearly correct entity values: ``2 TP / (2 TP + FP + FN)``.

    Counts are those of :func:`entity_scores`, summed over both distances, all utterances and types (micro average). 0
    if there are no entities at all, as in the official script. Bastianelli et al. 2020 (SLURP, arXiv 2011.13205).

    Args:
        references: annotated (type, value) pairs of each utterance.
        hypotheses: predicted pairs, utterances in the same order.

    Raises:
        ShapeError: there are no utterances, or the numbers of references and hypotheses differ.
        InputError: a reference value has no word.

    >>> said = [[("date", "next friday"), ("time", "nine")]]
    >>> heard = [[("date", "friday"), ("time", "nine")]]
    >>> round(slu_f1(said, heard), 4)  # TP 2 + 2; FP and FN each 1 / 2 words + 5 / 11 characters: 8 / (8 + 1.909)
    0.8073
    """
    return entity_scores(references, hypotheses).combined.f1


def entity_scores(references: Entities, hypotheses: Entities) -> EntityScores:
    """Count correct, spurious and missed entities, by word and by character distance between values.

    Predictions of an utterance are matched greedily in order. Each takes the remaining reference of its type with the
    smallest distance d, the first among ties: ``TP += 1, FP += d, FN += d``. A prediction without a remaining reference
    adds ``FP += 1``; an unmatched reference adds ``FN += 1``. The distances are:
    ``words: d = edits / words of the reference``; ``characters: d = edits / characters of the longer value``.

    The following is as in the official script of Bastianelli et al. 2020. A match is a full true positive however wrong
    its value is, so a correct type alone earns about 0.5. The word distance exceeds 1 if more words are inserted than
    the reference has. Greedy matching is not optimal, so the order matters, and the two distances are matched
    separately. Comparison is case-sensitive, although the script lowers the annotation (but not the prediction).

    Differs from the script: it ignores utterances without a prediction, here each needs one, possibly empty; it fails
    on a reference without a word only if it is compared with a prediction, here always.

    Args:
        references: annotated (type, value) pairs of each utterance.
        hypotheses: predicted pairs, utterances in the same order.

    Raises:
        ShapeError: there are no utterances, or the numbers of references and hypotheses differ.
        InputError: a reference value has no word.

    >>> entity_scores([[("date", "next friday")]], [[("date", "friday"), ("time", "nine")]]).words
    SpanCounts(true_positives=1.0, false_positives=1.5, false_negatives=0.5)
    """
    _check_paired(references, hypotheses)
    for index, reference in enumerate(references):
        for entity_type, value in reference:
            if not value.strip():
                raise InputError(
                    f"reference {index} has a {entity_type!r} of value {value!r}, expected words: leave the entity out"
                )
    return EntityScores(
        words=_count(references, hypotheses, jiwer.wer),
        characters=_count(references, hypotheses, Levenshtein.normalized_distance),
    )


def _count(references: Entities, hypotheses: Entities, distance: Callable[[str, str], float]) -> SpanCounts:
    matched = invented = missed = 0.0
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        left = [(entity_type, composed(value)) for entity_type, value in reference]
        for entity_type, value in hypothesis:
            value = composed(value)
            offers = [(distance(said, value), i) for i, (other, said) in enumerate(left) if other == entity_type]
            if offers:
                error, chosen = min(offers)  # the lower index among ties
                del left[chosen]
                matched, invented, missed = matched + 1, invented + error, missed + error
            else:
                invented += 1
        missed += len(left)
    return SpanCounts(matched, invented, missed)


def _check_paired(references: Sequence[object], hypotheses: Sequence[object]) -> None:
    for name, texts in (("references", references), ("hypotheses", hypotheses)):
        if isinstance(texts, str):  # a str is a sequence of characters, not of utterances
            raise ShapeError(f"{name} is the text {texts!r}, expected a list of one entry per utterance")
    if not 0 < len(references) == len(hypotheses):
        raise ShapeError(
            f"{len(references)} references and {len(hypotheses)} hypotheses, expected equal numbers of at least 1"
        )

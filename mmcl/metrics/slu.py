"""Metrics of spoken language understanding: word error rate of transcripts, SLU-F1 of entities.

Texts are compared as they are, case and punctuation included: normalise both sides alike beforehand. An accent that is
typed apart from its letter is the same as one that is part of it (Unicode's normal form C).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jiwer
from rapidfuzz.distance import Levenshtein  # what jiwer itself counts edits with

from mmcl.errors import InputError, ShapeError
from mmcl.text.words import composed

Entities = Sequence[Sequence[tuple[str, str]]]  #: of each utterance its (type, value), as mmcl.data.base.Entity is


class SpanCounts(NamedTuple):
    """How many entities were found, invented and missed; fractions where a value is partly right."""

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
    """The counts under each of the two distances between values; they add up to those of SLU-F1."""

    words: SpanCounts
    characters: SpanCounts

    @property
    def combined(self) -> SpanCounts:
        """The sum of both; its ``f1`` is SLU-F1."""
        return SpanCounts(*(word + character for word, character in zip(self.words, self.characters, strict=True)))


def word_error_rate(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Return the word edits of all utterances over the words of all references: ``(S + D + I) / (S + D + H)``.

    Substitutions, deletions, insertions and hits of the shortest edit, by jiwer. May be above 1. The words of a
    hypothesis whose reference is empty are insertions.

    Args:
        references: what was said, one text per utterance.
        hypotheses: what was understood, in the same order.

    Raises:
        ShapeError: no utterances, or not as many hypotheses as references.
        InputError: no word in any reference.

    >>> word_error_rate(["wake me at nine", "stop"], ["wake me at five", "please stop"])  # (1 + 1) / (4 + 1)
    0.4
    """
    _check_paired(references, hypotheses)
    edits = jiwer.process_words(list(map(composed, references)), list(map(composed, hypotheses)))
    if not edits.hits + edits.substitutions + edits.deletions:
        raise InputError(f"none of the {len(references)} references has a word, expected one to divide the edits by")
    return float(edits.wer)


def slu_f1(references: Entities, hypotheses: Entities) -> float:
    """Return SLU-F1, which forgives an entity's value by how nearly it was heard: ``2 TP / (2 TP + FP + FN)``.

    The counts are those of :func:`entity_scores`, summed over both distances, all utterances and types (micro average).
    0 where there is no entity on either side, as the official script has it. Bastianelli et al. 2020 (SLURP, arXiv
    2011.13205).

    Args:
        references: the annotated (type, value) pairs of each utterance.
        hypotheses: the predicted ones, utterances in the same order.

    Raises:
        ShapeError: no utterances, or not as many hypotheses as references.
        InputError: a reference value without a word.

    >>> said = [[("date", "next friday"), ("time", "nine")]]
    >>> heard = [[("date", "friday"), ("time", "nine")]]
    >>> round(slu_f1(said, heard), 4)  # TP 2 + 2; FP and FN each 1 / 2 words + 5 / 11 characters: 8 / (8 + 1.909)
    0.8073
    """
    return entity_scores(references, hypotheses).combined.f1


def entity_scores(references: Entities, hypotheses: Entities) -> EntityScores:
    """Count the entities found, invented and missed, once by the words of their values and once by the characters.

    The predictions of an utterance choose in their order. Each takes, of the references of its type that are left, the
    one of least distance d, the first of equals: ``TP += 1, FP += d, FN += d``. A prediction that finds none left is
    ``FP += 1``, a reference that nobody took is ``FN += 1``. The distances:
    ``words: d = edits / words of the reference``; ``characters: d = edits / characters of the longer value``.

    What surprises is what the official script of Bastianelli et al. 2020 does as well. A match is a whole true positive
    however wrong its value, so a right type alone earns about 0.5. The distance of words is above 1 where more words
    are inserted than the reference has. Choosing in turn is not the best assignment, so order matters; the two
    distances choose apart. Case counts, though the script lowers that of the annotation, not of the prediction.

    Differs from the script: it leaves out utterances without a prediction file entry, here each needs its hypothesis,
    if an empty one; it fails on a reference without a word only if a prediction is compared with it, here always.

    Args:
        references: the annotated (type, value) pairs of each utterance.
        hypotheses: the predicted ones, utterances in the same order.

    Raises:
        ShapeError: no utterances, or not as many hypotheses as references.
        InputError: a reference value without a word.

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
                error, chosen = min(offers)  # of equal distances the lower index
                del left[chosen]
                matched, invented, missed = matched + 1, invented + error, missed + error
            else:
                invented += 1
        missed += len(left)
    return SpanCounts(matched, invented, missed)


def _check_paired(references: Sequence[object], hypotheses: Sequence[object]) -> None:
    for name, texts in (("references", references), ("hypotheses", hypotheses)):
        if isinstance(texts, str):  # a sequence of letters, which would pass for one of utterances
            raise ShapeError(f"{name} is the text {texts!r}, expected a list of one entry per utterance")
    if not 0 < len(references) == len(hypotheses):
        raise ShapeError(
            f"{len(references)} references and {len(hypotheses)} hypotheses, expected as many, one or more"
        )

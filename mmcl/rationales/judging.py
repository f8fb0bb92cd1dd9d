"""Evaluation of a discriminator on held-out rationales."""

from __future__ import annotations

import random

from mmcl.data.texts.exercises import Exercises
from mmcl.rationales.discriminator import Discriminator, corrupted
from mmcl.rationales.voting import vote


def separation(
    discriminator: Discriminator, exercises: Exercises, *, share: float = 0.3, seed: int = 0
) -> dict[str, float]:
    """Return the area under the ROC curve (AUC) of a discriminator, for good against bad rationales.

    Good rationales are those whose answer is the label. ``"AUC, corrupted"`` compares them with corrupted copies,
    ``"AUC, wrong"`` with rationales of wrong answers; either is left out if there are no such rationales. Chance is
    0.5.

    Args:
        discriminator: discriminator to evaluate.
        exercises: held-out exercises with rationales.
        share: share of the words that are masked or replaced; see
            :func:`~mmcl.rationales.discriminator.corrupted`.
        seed: seed of the corruption.
    """
    from sklearn.metrics import roc_auc_score

    draw = random.Random(seed)
    sides: dict[str, list[tuple[str, str]]] = {"good": [], "corrupted": [], "wrong": []}
    voted = [(each.question, vote(each, exercises.same, use_label=True)) for each in exercises.exercises]
    words = [word for _, each in voted for text in each.positives for word in text.split()]
    for question, each in voted:
        sides["good"] += [(question, text) for text in each.positives]
        sides["corrupted"] += [(question, corrupted(text, words, share, draw)) for text in each.positives]
        sides["wrong"] += [(question, text) for text in each.negatives]
    scores = {
        name: discriminator.score([question for question, _ in pairs], [text for _, text in pairs]).tolist()
        for name, pairs in sides.items()
        if pairs
    }
    found = {}
    for name in ("corrupted", "wrong"):
        if "good" in scores and name in scores:
            truth = [1] * len(scores["good"]) + [0] * len(scores[name])
            found[f"AUC, {name}"] = float(roc_auc_score(truth, scores["good"] + scores[name]))
    return found

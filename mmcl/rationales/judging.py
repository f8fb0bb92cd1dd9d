"""How well a discriminator tells good rationales from bad ones that it was not trained on."""

from __future__ import annotations

import random

from mmcl.data.texts.exercises import Exercises
from mmcl.rationales.discriminator import Discriminator, corrupted
from mmcl.rationales.voting import vote


def separation(
    discriminator: Discriminator, exercises: Exercises, *, share: float = 0.3, seed: int = 0
) -> dict[str, float]:
    """Return the area under the curve with which scores tell good rationales of held-out exercises from bad ones.

    ``"AUC, corrupted"`` against the same with words masked or replaced, ``"AUC, wrong"`` against those that come to a
    wrong answer, where there are some; 0.5 is what guessing is worth. What is right is told by the labels here.

    Args:
        discriminator: to judge.
        exercises: with rationales.
        share: of words that are masked or replaced.
        seed: of these.
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
        name: discriminator.score([asked for asked, _ in pairs], [text for _, text in pairs]).tolist()
        for name, pairs in sides.items()
        if pairs
    }
    found = {}
    for name in ("corrupted", "wrong"):
        if "good" in scores and name in scores:
            truth = [1] * len(scores["good"]) + [0] * len(scores[name])
            found[f"AUC, {name}"] = float(roc_auc_score(truth, scores["good"] + scores[name]))
    return found

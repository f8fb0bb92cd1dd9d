"""Loss terms of the methods of rationale distillation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mmcl.batch import moved
from mmcl.config.numbers import Factor, NonNegative, Share
from mmcl.errors import ConfigError
from mmcl.models.text_to_text import TextToText, TextToTextOutput
from mmcl.objectives.qcrd import Scheme, discriminator_loss, mutual_information_loss, quality_contrast
from mmcl.rationales.discriminator import Discriminator
from mmcl.rationales.lessons import ANSWER, EXPLAIN, PREDICT, Lesson

Method = Literal["finetune", "single_task", "dss", "mi", "qcrd"]
Losses = dict[str, tuple[Tensor, float]]  # value and weight of each term


@dataclass(frozen=True)
class Weights:
    """Weights of the loss terms; defaults are the papers'.

    Args:
        alpha: weight of the label in ``dss`` and ``mi``; that of the rationale is 1 - alpha.
        mutual_information: weight of the mutual information in ``mi``.
        predict: weight of the label in ``qcrd``, alpha1 of equation 8.
        contrast: weight of the rationales in ``qcrd``, alpha2.
        discriminate: weight of the discriminator in ``qcrd``, alpha3.
        decay: factor on ``discriminate`` after each epoch.
        beta: weight of bad rationales.
        margin: loss above which a bad rationale is not pushed further away, delta.
        scheme: reduction of the losses of several rationales; ``quality_contrast`` defines the choices.
    """

    alpha: Share = 0.5
    mutual_information: NonNegative = 0.1
    predict: NonNegative = 0.5
    contrast: NonNegative = 0.5
    discriminate: NonNegative = 0.5
    decay: Factor = 0.9
    beta: NonNegative = 0.2
    margin: float = 3.0
    scheme: Scheme = "min_max"


def batch_losses(
    method: Method,
    student: TextToText,
    lessons: Sequence[Lesson],
    sampled: Sequence[str],
    weights: Weights,
    *,
    discriminator: Discriminator | None = None,
    epoch: int = 0,
) -> Losses:
    """Return the loss terms of a batch; the loss is their weighted sum.

    * ``finetune``: CE(label);
    * ``single_task``: CE(rationale followed by the label), as one text;
    * ``dss``: alpha CE(label) + (1 - alpha) CE(rationale), with two task prefixes (Hsieh et al., arXiv 2305.02301);
    * ``mi``: as ``dss``, plus :func:`~mmcl.objectives.qcrd.mutual_information_loss` (Chen et al., arXiv 2403.03348);
    * ``qcrd``: alpha1 L_pred + alpha2 L_cl + alpha3 decay^epoch L_D (Wang et al., arXiv 2405.13014, equation 8).

    Args:
        method: method, as above.
        student: model, in training mode.
        lessons: lessons of the batch.
        sampled: bad rationale sampled from the student for each lesson, empty for none; used by ``qcrd``.
        weights: weights of the terms.
        discriminator: discriminator of ``qcrd``, in training mode if it is trained.
        epoch: epoch, counted from 0.

    Raises:
        ConfigError: ``qcrd`` has no discriminator.
    """
    questions, labels = [each.question for each in lessons], [each.label for each in lessons]
    if method == "single_task":
        whole = [f"{each.rationale} {ANSWER} {each.label}".strip() for each in lessons]
        return {"single_task": (_forward(student, "", questions, whole).losses.mean(), 1.0)}
    predicted = _forward(student, PREDICT, questions, labels)
    if method == "finetune":
        return {"predict": (predicted.losses.mean(), 1.0)}
    if method == "qcrd":
        if discriminator is None:
            raise ConfigError("qcrd needs a discriminator, got None: pass a Discriminator")
        contrast, discriminated = contrast_losses(student, discriminator, lessons, sampled, weights)
        return {
            "predict": (predicted.losses.mean(), weights.predict),
            "contrast": (contrast, weights.contrast),
            "discriminate": (discriminated, weights.discriminate * weights.decay**epoch),
        }
    terms: Losses = {"predict": (predicted.losses.mean(), weights.alpha)}
    explained, rows = forward_rationales(student, lessons)
    if explained is None:
        return terms
    terms["explain"] = (explained.losses.mean(), 1 - weights.alpha)
    if method == "mi":
        shared = mutual_information_loss(explained.logits, predicted.logits[rows], explained.mask, predicted.mask[rows])
        terms["mutual_information"] = (shared, weights.mutual_information)
    return terms


def contrast_losses(
    student: TextToText,
    discriminator: Discriminator,
    lessons: Sequence[Lesson],
    sampled: Sequence[str],
    weights: Weights,
) -> tuple[Tensor, Tensor]:
    """Return L_cl and L_D of a batch; both are 0 if no lesson has a rationale.

    The student encodes each question once; student and discriminator process each rationale once. Arguments are those
    of :func:`batch_losses`.
    """
    sides = [
        [each.positives for each in lessons],
        [(*each.negatives, text) if text else each.negatives for each, text in zip(lessons, sampled, strict=True)],
    ]
    rows = [row for side in sides for row, texts in enumerate(side) for _ in texts]
    texts = [text for side in sides for rationales in side for text in rationales]
    if not texts:
        zero = next(student.parameters()).new_zeros(())
        return zero, zero
    questions = [each.question for each in lessons]
    losses = _forward(student, EXPLAIN, questions, texts, rows).losses
    scores = discriminator([questions[row] for row in rows], texts)
    counts = [[len(rationales) for rationales in side] for side in sides]
    positives = sum(counts[0])
    good = _padded(counts[0], losses[:positives], scores[:positives])
    bad = _padded(counts[1], losses[positives:], scores[positives:])
    contrast = quality_contrast(
        good[0],
        bad[0],
        good[1],
        bad[1],
        good[2],
        bad[2],
        beta=weights.beta,
        margin=weights.margin,
        scheme=weights.scheme,
    )
    return contrast, discriminator_loss(good[1], bad[1], good[2], bad[2])


def forward_rationales(student: TextToText, lessons: Sequence[Lesson]) -> tuple[TextToTextOutput | None, list[int]]:
    """Return the student's outputs on each lesson's first rationale, and the rows of lessons that have one."""
    rows = [row for row, each in enumerate(lessons) if each.rationale]
    if not rows:
        return None, rows
    questions, texts = [lessons[row].question for row in rows], [lessons[row].rationale for row in rows]
    return _forward(student, EXPLAIN, questions, texts), rows


def _padded(counts: Sequence[int], *values: Tensor) -> tuple[Tensor, ...]:
    """Values of each lesson's rationales, padded to ``(batch, rationales)``, and the mask of valid entries."""
    sizes = moved(torch.tensor(counts), values[0].device)
    mask = torch.arange(max(max(counts), 1), device=sizes.device) < sizes[:, None]
    return *(each.new_zeros(mask.shape).masked_scatter(mask, each) for each in values), mask


def _forward(
    student: TextToText, prefix: str, questions: Sequence[str], texts: Sequence[str], rows: Sequence[int] | None = None
) -> TextToTextOutput:
    device = next(student.parameters()).device
    output: TextToTextOutput = student(
        student.batch([prefix + question for question in questions], texts, rows).to(device)
    )
    return output

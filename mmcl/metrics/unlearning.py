"""Metrics of unlearning: membership inference attacks, per-sample loss, distance to a retrained model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import InputError, LabelError, ShapeError


@takes_tensors
def membership_attack(members: Tensor, others: Tensor, forgotten: Tensor, unseen: Tensor, *, seed: int = 0) -> float:
    """Return the accuracy of an attacker that separates forgotten samples from unseen ones; 0.5 means it cannot.

    The attacker is a gradient-boosted tree ensemble on sorted class probabilities. It learns to separate training
    samples from others and is tested on ``forgotten`` and ``unseen``. LAF, Shen et al., arXiv 2404.00506, section 4.
    Differs from the released code: scikit-learn's trees, and equal numbers of samples on both sides, drawn by ``seed``.

    Args:
        members: logits ``(samples, classes)`` of training samples that the model should keep.
        others: logits of samples that were never trained on.
        forgotten: logits of samples that the model should forget.
        unseen: logits of further samples that were never trained on.
        seed: seed of subsampling and of the trees.

    Raises:
        ShapeError: there are no samples, or shapes do not match.
        InputError: logits are NaN or plus infinity.

    >>> sure, unsure = torch.tensor([[9.0, 0.0]]).repeat(40, 1), torch.zeros(40, 2)
    >>> membership_attack(sure, unsure, sure, unsure), membership_attack(sure, unsure, unsure, unsure)
    (1.0, 0.5)
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    sides = (
        _balanced({"members": members, "others": others}, seed),
        _balanced({"forgotten": forgotten, "unseen": unseen}, seed),
    )
    (known, known_is), (asked, asked_is) = (
        (torch.cat(list(side)).double().softmax(1).sort(1, descending=True).values.numpy(), _labels(side))
        for side in sides
    )
    attacker = HistGradientBoostingClassifier(max_iter=100, min_samples_leaf=5, random_state=seed)
    return float(attacker.fit(known, known_is).score(asked, asked_is))


@takes_tensors
def loss_attack(members: Tensor, others: Tensor, forgotten: Tensor, unseen: Tensor, *, seed: int = 0) -> float:
    """Return the accuracy of an attacker that separates forgotten samples from unseen ones by their loss.

    Samples with a loss up to a threshold are called members. The threshold is the best one for separating ``members``
    from ``others`` (Yeom et al., arXiv 1709.01604). Both sides have equal numbers of samples, drawn by ``seed``.

    Args:
        members, others, forgotten, unseen: losses ``(samples,)``, see :func:`membership_attack`.
        seed: seed of subsampling.

    Raises:
        ShapeError: there are no samples, or shapes do not match.
        InputError: losses are not finite.

    >>> low, high = torch.full((5,), 0.1), torch.full((5,), 2.0)
    >>> loss_attack(low, high, low, high), loss_attack(low, high, high, high)
    (1.0, 0.5)
    """
    known = _balanced({"members": members[:, None], "others": others[:, None]}, seed)
    asked = _balanced({"forgotten": forgotten[:, None], "unseen": unseen[:, None]}, seed)
    losses, order = torch.cat(known)[:, 0].sort()
    is_member = torch.tensor(_labels(known))[order]
    right = (
        is_member.cumsum(0) + (1 - is_member).sum() - (1 - is_member).cumsum(0)
    )  # correct if the first k are members
    last = torch.cat([losses[1:] > losses[:-1], torch.tensor([True])])  # a threshold cannot separate equal losses
    threshold = losses[right.masked_fill(~last, -1).argmax()]
    called = (torch.cat(asked)[:, 0] <= threshold).long()
    return float((called == torch.tensor(_labels(asked))).double().mean())


@takes_tensors
def per_sample_loss(logits: Tensor, labels: Sequence[int]) -> Tensor:
    """Return the cross-entropy of each sample, ``(samples,)``, clipped to 100 (classes that have not arrived).

    Raises:
        LabelError: a label is out of range.
    """
    target = torch.tensor(whole_numbers(labels, "labels", error=LabelError), dtype=torch.long, device=logits.device)
    if len(target) and not 0 <= int(target.min()) <= int(target.max()) < logits.shape[1]:
        raise LabelError(
            f"labels range from {int(target.min())} to {int(target.max())}, expected 0 to {logits.shape[1] - 1}"
        )
    return -logits.double().log_softmax(1).clamp(min=-100.0).gather(1, target[:, None])[:, 0]


def distance_to_retrain(
    measured: Mapping[str, float], retrained: Mapping[str, float], names: Sequence[str] | None = None
) -> float:
    """Return the mean absolute difference between a model's metrics and those of a model retrained without the data.

    Args:
        measured, retrained: metrics by name.
        names: names of the metrics to compare; None compares all shared names.

    Raises:
        ShapeError: the models share no metric.
        InputError: a metric is not finite.

    >>> round(distance_to_retrain({"test": 0.9, "forget": 0.5}, {"test": 0.95, "forget": 0.0}), 3)
    0.275
    """
    shared = [name for name in (measured if names is None else names) if name in retrained and name in measured]
    if not shared:
        raise ShapeError(f"metrics {', '.join(measured)} and {', '.join(retrained)} have no name in common")
    for name in shared:
        if not math.isfinite(measured[name] - retrained[name]):
            raise InputError(f"{name} is {measured[name]} and {retrained[name]} of Retrain, expected finite numbers")
    return sum(abs(measured[name] - retrained[name]) for name in shared) / len(shared)


def _balanced(two: Mapping[str, Tensor], seed: int) -> list[Tensor]:
    """Return equal numbers of rows of both, drawn by ``seed``, on the CPU."""
    for name, each in two.items():
        if each.dim() != 2 or not len(each):
            raise ShapeError(f"{name} have shape {tuple(each.shape)}, expected one or more samples")
        bad = each.isnan().any(1) | ~each.amax(1).isfinite()
        if bool(bad.any()):
            row = int(bad.nonzero()[0, 0])
            raise InputError(f"{name}: row {row} has {each[row].tolist()[:8]}, expected numbers: check the model")
    size = min(map(len, two.values()))
    draw = torch.Generator().manual_seed(seed)
    return [each.cpu()[torch.randperm(len(each), generator=draw)[:size]] for each in two.values()]


def _labels(sides: Sequence[Tensor]) -> list[int]:
    return [1] * len(sides[0]) + [0] * len(sides[1])

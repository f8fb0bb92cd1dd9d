"""Core-tuning: supervised contrast that focuses on hard positives, and mixtures of hard pairs for fine-tuning."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.errors import ConfigError, InputError
from mmcl.objectives.kernel.factors import similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, checks_values, poisoned, precise
from mmcl.objectives.kernel.labels import labels_of, mixture_of
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.row_blocks import own_columns, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import whole
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, positive

Divisor = Literal["positives", "rows"]


class CoreTuningLoss(Objective):
    """SupCon with more weight for positives of low probability.

    With z the features, P(i) the other samples of i's label, and p_ij the softmax over all k != i of
    <z_i, z_k> / temperature::

        loss_i = -1/|P(i)| sum_{j in P(i)} (1 - p_ij) log p_ij

    The result is the mean over samples that have a positive, 0 if there are none. The weight 1 - p has a gradient.
    Without ``focal``, the weight is 1 and the loss is SupCon.

    Zhang et al. 2021 (arXiv 2102.06605, Core-tuning). Differs from the paper: mean over samples with a positive instead
    of all samples. The released code divides by the number of rows instead of |P(i)| (``divisor="rows"``), which makes
    the loss several times smaller. For mixtures, see :func:`hard_mixtures`: its ``groups`` are the labels here. In the
    paper the loss has weight 0.1 on CIFAR-10 beside the cross-entropy of the same mixtures.

    Args:
        temperature: greater than 0; 0.07 in the paper.
        focal: give positives the weight 1 - p.
        divisor: divide each sample's sum by its ``"positives"`` or by all ``"rows"``.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, LabelError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; an unknown
            divisor.

    >>> features, labels = torch.eye(2)[[0, 0, 1]], torch.tensor([5, 5, 3])
    >>> p = torch.tensor([1.0, 0.0]).softmax(0)[0]  # e / (e + 1)
    >>> loss = CoreTuningLoss(temperature=1.0)(features, labels)
    >>> torch.allclose(loss, -(1 - p) * p.log())
    True
    """

    takes = ("features", "labels")

    def __init__(
        self,
        temperature: Temperature = 0.07,
        focal: bool = True,
        divisor: Divisor = "positives",
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if divisor not in ("positives", "rows"):
            raise ConfigError(f"divisor is {divisor!r}, expected 'positives' or 'rows'")
        self.focal, self.divisor = focal, divisor

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of features ``(batch, dim)`` and their labels ``(batch,)``."""
        check_features(features=features)
        labels = labels_of("labels", labels, len(features), features.device)
        tile_size(features.device, self.block_size)
        with torch.autocast(features.device.type, enabled=False):
            (rows,) = precise(features)
            queries, keys, _ = similarity_factors(rows, rows, self.temperature)
            pairs, key_labels, offset = SameLabel(labels, exclude_self=True), labels, 0
            processes = Processes.of(keys) if self.gather else None
            if processes:
                keys, key_labels, offset = processes.gather(keys), processes.gather(labels), processes.own.start
                pairs = pairs.gathered(processes)
            positives = pairs.row_sums(queries)
            total = sum_of_blocks(
                lambda start, *block: self._block_loss(offset + start, *block),
                [queries, labels, positives],
                [keys, key_labels],
                self.block_size,
            )
            anchors = (positives > 0).sum()
            anchors = processes.stack(anchors).sum() if processes else anchors
            return total / anchors.clamp(min=1)

    def _block_loss(
        self, offset: int, queries: Tensor, labels: Tensor, positives: Tensor, keys: Tensor, key_labels: Tensor
    ) -> Tensor:
        similarities = queries @ keys.T
        own = torch.zeros_like(similarities, dtype=torch.bool).scatter(1, own_columns(similarities, offset), True)
        logs = similarities.masked_fill(own, torch.finfo(similarities.dtype).min).log_softmax(1)
        logs = logs.masked_fill((labels[:, None] != key_labels) | own, 0)
        losses = -(1 - logs.exp()) * logs if self.focal else -logs
        return (losses.sum(1) / (positives.clamp(min=1) if self.divisor == "positives" else len(keys))).sum()


class Mixtures(NamedTuple):
    """Features with mixtures of hard pairs: the given rows, then hard negatives, then hard positives.

    Args:
        features: ``(3 batch, dim)``.
        labels: soft labels, ``(3 batch, classes)``, for the cross-entropy.
        groups: rows with the same soft label have the same number, ``(3 batch,)``, the labels of
            :class:`CoreTuningLoss`. Mixtures of two classes have numbers below 0.
    """

    features: Tensor
    labels: Tensor
    groups: Tensor


@takes_tensors
def hard_mixtures(
    features: Tensor, labels: Tensor, classes: int, *, alpha: float = 1.0, lowest: float = 0.8
) -> Mixtures:
    """Return features with random mixtures of hard pairs, see :func:`mixtures_of`.

    Args:
        features: features before the classifier and the contrast head, ``(batch, dim)``.
        labels: class of each sample from 0 to ``classes - 1``, ``(batch,)``.
        classes: number of classes.
        alpha: coefficients are drawn from Beta(alpha, alpha), greater than 0.
        lowest: smallest coefficient of the other sample in hard negatives, in [0, 1].

    Raises:
        ShapeError, LabelError, InputError: as :func:`mixtures_of`; an invalid alpha or lowest.

    >>> hard_mixtures(torch.eye(4), torch.tensor([0, 0, 1, 1]), classes=2).features.shape
    torch.Size([12, 4])
    """
    check_features(features=features)
    positive("alpha", alpha)
    if number_of(lowest) is None or not 0 <= lowest <= 1:
        raise InputError(f"lowest is {lowest!r}, expected a coefficient in [0, 1]")
    count, device = len(features), features.device
    shape = torch.full((), float(alpha), device=device)
    draws = torch.distributions.Beta(shape, shape, validate_args=False).sample((2, count))
    permutation = torch.randperm(count, device=device)
    return mixtures_of(features, labels, classes, permutation, draws[0].clamp(min=lowest), draws[1])


@takes_tensors
def mixtures_of(
    features: Tensor, labels: Tensor, classes: int, permutation: Tensor, negative_lam: Tensor, positive_lam: Tensor
) -> Mixtures:
    """Return features with mixtures of hard pairs, of given partners and coefficients.

    With f the features and y the one-hot labels, of sample i::

        hard negative: (1 - lam) f_i + lam f_permutation(i)
        hard positive: lam' f_p + (1 - lam') f_n

    p is the least similar other sample of i's class, i itself if there is none. n is the most similar sample of another
    class, i itself if there is none. Similarity is the cosine. Labels are mixed alike. Mixtures keep their gradient.

    Zhang et al. 2021 (arXiv 2102.06605). Differs from the released code, whose search for p finds the sample itself or
    a wrong class instead, and which cuts the gradient of the unmixed features.

    Args:
        features: ``(batch, dim)``.
        labels: class of each sample from 0 to ``classes - 1``, ``(batch,)``.
        classes: number of classes.
        permutation: partner of each sample, ``(batch,)``.
        negative_lam, positive_lam: lam and lam' in [0, 1], ``(batch,)``.

    Raises:
        ShapeError, LabelError: incompatible shapes, or labels that are not integers.
        InputError: features that are not finite, an unknown class, an invalid permutation or coefficient. On devices
            whose values are not checked at once, mixtures are NaN.

    >>> half = torch.full((2,), 0.5)
    >>> mixtures_of(torch.eye(2), torch.tensor([0, 1]), 2, torch.tensor([1, 0]), half, half).groups
    tensor([ 0,  1, -1, -2, -3, -4])
    """
    check_features(features=features)
    labels = labels_of("labels", labels, len(features), features.device)
    classes = whole("classes", classes)
    labels, known = _known(labels, classes)
    permutation, lam = mixture_of(labels_of("permutation", permutation, device=features.device), negative_lam)
    itself = torch.arange(len(labels), device=features.device)
    _, other_lam = mixture_of(itself, positive_lam)
    (rows,) = precise(features)
    hard_positives, hard_negatives = _hardest(rows.detach(), labels)
    pairs = ((itself, permutation, 1 - lam), (hard_positives, hard_negatives, other_lam))
    soft = (labels[:, None] == torch.arange(classes, device=labels.device)).to(rows.dtype)
    parts, targets, groups = [rows], [soft], [labels]
    for number, (one, other, share) in enumerate(pairs):
        weight = poisoned(share.to(rows.dtype), known)[:, None]
        parts.append(weight * rows[one] + (1 - weight) * rows[other])
        targets.append(weight * soft[one] + (1 - weight) * soft[other])
        groups.append(_groups(labels[one], labels[other], share, number * len(labels)))
    return Mixtures(torch.cat(parts), torch.cat(targets), torch.cat(groups))


def _known(labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return labels within the classes, and whether all are."""
    known = ((labels >= 0) & (labels < classes)).all()
    if checks_values(labels) and not bool(known):
        bad = labels[(labels < 0) | (labels >= classes)][0].item()
        raise InputError(f"labels holds {bad}, expected 0 to {classes - 1}: set classes to the number of classes")
    return labels.clamp(0, classes - 1), known


def _groups(one: Tensor, other: Tensor, share: Tensor, offset: int) -> Tensor:
    """Return the number of each mixture's soft label: its class, or below 0 that of the first equal mixture."""
    size, first = tile_size(one.device, None), [one.new_empty(0)]
    for start in range(0, len(one), size):
        block = slice(start, start + size)
        equal = (one[block, None] == one) & (other[block, None] == other) & (share[block, None] == share)
        first.append(equal.int().argmax(1))
    return torch.where(one == other, one, -1 - offset - torch.cat(first))


def _hardest(rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least similar row of the same label and the most similar of another, or the row itself."""
    units, size = unit(rows), tile_size(rows.device, None)
    found = [labels.new_empty(2, 0)]
    for start in range(0, len(units), size):
        similarities = units[start : start + size] @ units.T
        own = own_columns(similarities, start)
        same = labels[start : start + size, None] == labels
        others = same.scatter(1, own, False)
        least = similarities.masked_fill(~others, torch.inf).argmin(1)
        most = similarities.masked_fill(same, -torch.inf).argmax(1)
        least, most = (
            torch.where(there.any(1), chosen, own[:, 0]) for there, chosen in ((others, least), (~same, most))
        )
        found.append(torch.stack([least, most]))
    first, second = torch.cat(found, 1)
    return first, second

"""Geometry of features: uniformity, alignment and tolerance on the unit sphere, and effective rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.errors import ShapeError
from mmcl.objectives.kernel.inputs import check_features, check_paired, precise, require_finite
from mmcl.objectives.kernel.labels import labels_of
from mmcl.objectives.kernel.logsumexp import pairwise_logsumexp
from mmcl.objectives.kernel.pairs import Identity, SameLabel
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import positive


@takes_tensors
def uniformity(features: Tensor, scale: float = 2.0, *, block_size: int | None = None) -> Tensor:
    """Return how evenly features cover the sphere; lower is more even, 0 means that all features are equal.

    ``log mean over i != j of exp(-scale |z_i - z_j|^2)`` with z of unit length. Wang and Isola 2020 (arXiv 2005.10242),
    L_uniform; Wang and Liu 2021 (arXiv 2012.09740) measure contrastive losses with it.

    Args:
        features: ``(batch, dim)``, at least two.
        scale: t of the paper, greater than 0.
        block_size: see :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError: there are fewer than two rows.
        InputError: features are not finite, or ``scale`` is not positive.

    >>> round(uniformity(torch.eye(2)).item(), 4)  # the squared distance is 2
    -4.0
    """
    check_features(features=features)
    require_finite(features=features)
    if len(features) < 2:
        raise ShapeError(f"features has shape {tuple(features.shape)}, expected two rows or more to compare")
    positive("scale", scale)
    # |z_i - z_j|^2 = 2 - 2 <z_i, z_j>
    (z,) = precise(features)
    z = unit(z, (2 * scale) ** 0.5)
    sums, _, _ = pairwise_logsumexp(z, z, Identity(len(z)).complement(), block_size=block_size)
    return sums.logsumexp(0) - math.log(len(z) * (len(z) - 1)) - 2 * scale


@takes_tensors
def alignment(a: Tensor, b: Tensor, power: float = 2.0) -> Tensor:
    """Return the mean distance of positive pairs: ``mean_i |a_i - b_i|^power``, with a and b of unit length.

    Wang and Isola 2020 (arXiv 2005.10242), L_align.

    Args:
        a: ``(batch, dim)``.
        b: another view of the same samples, ``(batch, dim)``.
        power: alpha of the paper, greater than 0.

    Raises:
        ShapeError: shapes differ.
        InputError: features are not finite, or ``power`` is not positive.

    >>> round(alignment(torch.eye(2), torch.eye(2).flip(0)).item(), 4)
    2.0
    """
    check_paired(a=a, b=b)
    require_finite(a=a, b=b)
    positive("power", power)
    one, other = (unit(side) for side in precise(a, b))
    # The power of a zero distance has a NaN gradient if the exponent is below 1, so zeros are masked.
    squares = (one - other).square().sum(1)
    apart = squares > 0
    distances = torch.where(apart, squares, 1).sqrt().pow(power) * apart
    return distances.sum() / max(len(one), 1)


@takes_tensors
def tolerance(features: Tensor, labels: Tensor, *, same_label_only: bool = False) -> Tensor:
    """Return the similarity of samples with equal labels: ``mean over i != j of <z_i, z_j> [y_i = y_j]``, |z| = 1.

    Wang and Liu 2021 (arXiv 2012.09740), tolerance. The printed mean is over all pairs, so it scales with the frequency
    of equal labels; most implementations average over pairs with equal labels only.

    Args:
        features: ``(batch, dim)``.
        labels: ``(batch,)``.
        same_label_only: average over pairs with equal labels; 0 if there are none.

    Raises:
        ShapeError, LabelError, InputError: features and labels do not match, or features are not finite.

    >>> features, labels = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0, 1])
    >>> round(tolerance(features, labels).item(), 4), tolerance(features, labels, same_label_only=True).item()
    (0.3333, 1.0)
    """
    check_features(features=features)
    require_finite(features=features)
    labels = labels_of("labels", labels, len(features), features.device)
    (z,) = precise(features)
    z, pairs = unit(z), SameLabel(labels, exclude_self=True)
    count = pairs.row_sums(z).sum() if same_label_only else torch.tensor(len(z) * (len(z) - 1), device=z.device)
    return pairs.row_dots(z, z).sum() / count.clamp(min=1)


@takes_tensors
def effective_rank(features: Tensor) -> Tensor:
    """Return the effective number of dimensions that features vary in, from 1 to ``dim``.

    ``exp(-sum_k p_k log p_k)`` with ``p_k`` the singular values of the centred features, divided by their sum. Roy and
    Vetterli 2007, definition 1. Features that are all equal have rank 1.

    Args:
        features: ``(batch, dim)``, at least two.

    Raises:
        ShapeError: there are fewer than two rows.
        InputError: features are not finite.

    >>> round(effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item(), 4)
    2.0
    """
    check_features(features=features)
    require_finite(features=features)
    if len(features) < 2:
        raise ShapeError(f"features has shape {tuple(features.shape)}, expected two rows or more to compare")
    (values,) = precise(features)
    singular = torch.linalg.svdvals(values - values.mean(0))
    shares = singular / singular.sum().clamp(min=torch.finfo(singular.dtype).tiny)
    return torch.special.entr(shares).sum().exp()

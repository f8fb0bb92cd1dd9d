"""Standardization of features: robust gains and offsets, and mean and variance over padded sequences."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, precise, require_finite
from mmcl.objectives.kernel.unit import rescaling

_ROUNDING = 10  # a standard deviation below this many units in the last place is rounding error


class Scaling(NamedTuple):
    """An affine map for each feature: ``vectors * gain + offset`` is scaled.

    ``varies`` is False for features that are constant. All three are ``(features,)``.
    """

    gain: Tensor
    offset: Tensor
    varies: Tensor


def standardization(vectors: Tensor, size: int | None = None) -> Scaling:
    """Compute the scaling of features from one encoder to mean 0 and standard deviation 1.

    A constant feature keeps its scale: its standard deviation counts as 1. A feature counts as constant if its
    standard deviation is a rounding error, relative to its magnitude or to the largest standard deviation. Gains and
    offsets are finite for any finite input, including a single sample.

    Args:
        vectors: ``(samples, features)``, with at least one sample.
        size: the expected number of features; None accepts any.

    Raises:
        ShapeError: if ``vectors`` are not ``(samples, features)``.
        InputError: if ``vectors`` are not finite.

    >>> scaling = standardization(torch.tensor([[1.0, 0.1], [3.0, 0.1], [5.0, 0.1]]))
    >>> scaling.gain.tolist(), scaling.varies.tolist()
    ([0.5, 1.0], [True, False])
    """
    return _scaling(vectors, "deviation", size, comparable=True)


def feature_scaling(vectors: Tensor, to: Literal["range", "deviation"], size: int | None = None) -> Scaling:
    """Compute the scaling of features with different units, each on its own.

    Args:
        vectors: ``(samples, features)``, with at least one sample.
        to: ``"range"`` scales to [0, 1], ``"deviation"`` to mean 0 and standard deviation 1.
        size: the expected number of features; None accepts any.

    Raises:
        ShapeError, InputError: as in :func:`standardization`.

    >>> scaling = feature_scaling(torch.tensor([[2.0, 0.0], [6.0, 2.0**-40]]), "range")
    >>> (torch.tensor([3.0, 2.0**-41]) * scaling.gain + scaling.offset).tolist()
    [0.25, 0.5]
    """
    return _scaling(vectors, to, size, comparable=False)


def masked_moments(values: Tensor, mask: Tensor, counts: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return ``values`` minus their mean over unpadded steps, zero in the padding, and their variance.

    Args:
        values: a padded batch.
        mask: True for unpadded steps; broadcasts to ``values``.
        counts: the number of unpadded steps, at least 1; broadcasts to the variance.
        dim: the dimension of the steps. The variance keeps it with size 1.

    >>> values, mask = torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]])
    >>> masked_moments(values, mask, torch.tensor([[2]]), dim=1)
    (tensor([[-1.,  1.,  0.]]), tensor([[1.]]))
    """
    centered = (values - (values * mask).sum(dim, keepdim=True) / counts) * mask
    return centered, centered.square().sum(dim, keepdim=True) / counts


def _scaling(vectors: Tensor, to: str, size: int | None, *, comparable: bool) -> Scaling:
    check_finite_tensors(vectors=vectors)
    require_finite(vectors=vectors)
    if vectors.dim() != 2 or not len(vectors) or size not in (None, vectors.shape[1]):
        expected = "features" if size is None else size
        raise ShapeError(f"vectors have shape {tuple(vectors.shape)}, expected (samples, {expected}), 1 sample or more")
    (values,) = precise(vectors.detach())
    eps = torch.finfo(values.dtype).eps
    low, high = values.amin(0), values.amax(0)
    sizes = torch.maximum(high, -low)
    factor = rescaling(sizes)  # per feature, to keep squares from overflowing or underflowing
    if bool((factor != 1).any()):
        values, low, high, sizes = values * factor, low * factor, high * factor, sizes * factor
    if to == "range":
        center, spread = low, high - low
    else:
        center = values.mean(0)
        spread = values.std(0) if len(values) > 1 else torch.zeros_like(center)
    varies = (high > low) & (spread > _ROUNDING * eps * sizes)
    if comparable:
        deviations = (spread / factor).clamp(max=torch.finfo(spread.dtype).max)
        varies &= deviations > eps * deviations.max() if len(factor) else varies
    gain = 1 / torch.where(varies, spread, 1)
    varies &= (gain * factor).isfinite()
    return Scaling(torch.where(varies, gain * factor, 1), -center * torch.where(varies, gain, 1 / factor), varies)

"""Standardize features: gains and offsets that are finite whatever the samples, of one sample and of constants too."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, precise
from mmcl.objectives.kernel.unit import rescaling

_ROUNDING = 10  # a deviation of so many units in the last place of a feature's size is rounding, not variation


class Scaling(NamedTuple):
    """``vectors * gain + offset`` is scaled; ``varies`` says which features do. All are ``(features,)``."""

    gain: Tensor
    offset: Tensor
    varies: Tensor


def standardization(vectors: Tensor, size: int | None = None) -> Scaling:
    """Return what scales features to mean 0 and deviation 1.

    A feature that does not vary keeps its scale: its deviation counts as 1. One varies if its deviation is more than
    rounding, relative to the feature's own size and to the largest deviation of all, since they come from one encoder.

    Args:
        vectors: ``(samples, features)``, one sample or more.
        size: number of features that are expected; None for any.

    Raises:
        ShapeError: not ``(samples, features)``.
        InputError: vectors that are not finite.

    >>> scaling = standardization(torch.tensor([[1.0, 0.1], [3.0, 0.1], [5.0, 0.1]]))
    >>> scaling.gain.tolist(), scaling.varies.tolist()
    ([0.5, 1.0], [True, False])
    """
    return _scaling(vectors, "deviation", size, alike=True)


def feature_scaling(vectors: Tensor, to: Literal["range", "deviation"], size: int | None = None) -> Scaling:
    """Return what scales features of different units, each by itself: to 0 to 1, or to mean 0 and deviation 1.

    Arguments and errors as of :func:`standardization`.

    >>> scaling = feature_scaling(torch.tensor([[2.0, 0.0], [6.0, 2.0**-40]]), "range")
    >>> (torch.tensor([3.0, 2.0**-41]) * scaling.gain + scaling.offset).tolist()
    [0.25, 0.5]
    """
    return _scaling(vectors, to, size, alike=False)


def _scaling(vectors: Tensor, to: str, size: int | None, *, alike: bool) -> Scaling:
    check_finite_tensors(vectors=vectors)
    if vectors.dim() != 2 or not len(vectors) or size not in (None, vectors.shape[1]):
        expected = "features" if size is None else size
        raise ShapeError(f"vectors have shape {tuple(vectors.shape)}, expected (vectors, {expected}), one or more")
    (values,) = precise(vectors.detach())
    eps = torch.finfo(values.dtype).eps
    low, high = values.amin(0), values.amax(0)
    sizes = torch.maximum(high, -low)
    factor = rescaling(sizes)  # of each feature: squares neither overflow nor vanish
    if bool((factor != 1).any()):
        values, low, high, sizes = values * factor, low * factor, high * factor, sizes * factor
    if to == "range":
        centre, spread = low, high - low
    else:
        centre = values.mean(0)
        spread = values.std(0) if len(values) > 1 else torch.zeros_like(centre)
    varies = (high > low) & (spread > _ROUNDING * eps * sizes)
    if alike:
        deviations = (spread / factor).clamp(max=torch.finfo(spread.dtype).max)
        varies &= deviations > eps * deviations.max() if len(factor) else varies
    gain = 1 / torch.where(varies, spread, 1)
    varies &= (gain * factor).isfinite()
    return Scaling(torch.where(varies, gain * factor, 1), -centre * torch.where(varies, gain, 1 / factor), varies)

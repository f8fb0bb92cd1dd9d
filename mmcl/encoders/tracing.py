"""Operations that differ under ``torch.export``, which knows shapes but not values.

An exported graph must be correct for any batch, padded or not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d

from mmcl.batch import length_mask
from mmcl.encoders.standardize import masked_moments


def max_length(lengths: Tensor, size: int) -> int:
    """Return the largest of ``lengths``; during export return ``size``, an upper bound.

    >>> max_length(torch.tensor([2, 3]), 5)
    3
    """
    return size if torch.compiler.is_exporting() else int(lengths.max())


def is_unpadded(mask: Tensor) -> bool:
    """Return True if all of ``mask`` is True; during export return False, since a batch may be padded.

    >>> is_unpadded(torch.tensor([[True, True], [True, False]]))
    False
    """
    return not torch.compiler.is_exporting() and bool(mask.all())


def masked_channel_norm(norm: nn.GroupNorm, hidden: Tensor, lengths: Tensor) -> Tensor:
    """Apply a GroupNorm with one channel per group to unpadded steps only.

    Args:
        norm: the GroupNorm.
        hidden: ``(batch, channels, steps)``.
        lengths: ``(batch,)``, in steps.

    >>> norm, hidden = nn.GroupNorm(3, 3), torch.randn(2, 3, 8)
    >>> torch.allclose(masked_channel_norm(norm, hidden, torch.tensor([8, 5]))[1, :, :5], norm(hidden[1:, :, :5])[0])
    True
    """
    mask = length_mask(lengths, hidden.shape[2])[:, None, :]
    centered, variance = masked_moments(hidden, mask, lengths[:, None, None], dim=2)
    return centered / (variance + norm.eps).sqrt() * norm.weight[:, None] + norm.bias[:, None]


def power_spectrum(signal: Tensor, window: Tensor, hop: int) -> Tensor:
    """Compute ``|STFT|^2`` of ``signal`` by a convolution with sines and cosines, ``(batch, bins, frames)``.

    Used during export: not every runtime has the operator of ``torch.stft``, which is faster.

    Args:
        signal: ``(batch, samples)``; all frames lie within it.
        window: the window, as long as a frame.
        hop: samples between the starts of two frames.

    >>> signal, window = torch.randn(1, 1000), torch.hann_window(400)
    >>> spectrum = torch.stft(signal, 400, 160, window=window, center=False, return_complex=True)
    >>> torch.allclose(power_spectrum(signal, window, 160), spectrum.abs().square(), atol=1e-3)
    True
    """
    size = len(window)
    turns = torch.arange(size // 2 + 1)[:, None] * torch.arange(size) % size  # exact reduction of the phase
    angles = turns.double() * (2 * math.pi / size)
    waves = torch.cat([angles.cos(), angles.sin()]).to(window) * window
    real, imaginary = conv1d(signal[:, None], waves[:, None], stride=hop).chunk(2, dim=1)
    return real.square() + imaginary.square()

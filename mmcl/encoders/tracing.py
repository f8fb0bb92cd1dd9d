"""What encoders do otherwise while a graph of them is exported (``torch.export``), where shapes are known, values not.

Such a graph is of any batch, padded or not, so it takes the way that is right for all of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d

from mmcl.batch import length_mask


def longest(lengths: Tensor, size: int) -> int:
    """Return the largest of ``lengths``; in a graph that is exported ``size``, which is no less.

    >>> longest(torch.tensor([2, 3]), 5)
    3
    """
    return size if torch.compiler.is_exporting() else int(lengths.max())


def no_padding(mask: Tensor) -> bool:
    """Return whether all of ``mask`` is True; in a graph that is exported, where there may be padding, False.

    >>> no_padding(torch.tensor([[True, True], [True, False]]))
    False
    """
    return not torch.compiler.is_exporting() and bool(mask.all())


def masked_channel_norm(norm: nn.GroupNorm, hidden: Tensor, lengths: Tensor) -> Tensor:
    """Normalise each channel over the steps that are there, as a GroupNorm of one channel a group does without padding.

    Args:
        norm: its weights.
        hidden: ``(batch, channels, steps)``.
        lengths: ``(batch,)``, in steps.

    >>> norm, hidden = nn.GroupNorm(3, 3), torch.randn(2, 3, 8)
    >>> torch.allclose(masked_channel_norm(norm, hidden, torch.tensor([8, 5]))[1, :, :5], norm(hidden[1:, :, :5])[0])
    True
    """
    mask, counts = length_mask(lengths, hidden.shape[2])[:, None, :], lengths[:, None, None]
    centred = (hidden - (hidden * mask).sum(2, keepdim=True) / counts) * mask
    deviation = (centred.square().sum(2, keepdim=True) / counts + norm.eps).sqrt()
    return centred / deviation * norm.weight[:, None] + norm.bias[:, None]


def power_spectrum(signal: Tensor, window: Tensor, hop: int) -> Tensor:
    """Return ``|STFT|^2`` of ``signal`` by a convolution with sines and cosines, ``(batch, bins, frames)``.

    For graphs that are exported: it is slower than ``torch.stft``, whose operator not every runtime has.

    Args:
        signal: ``(batch, samples)``, which no frame reaches beyond.
        window: as long as a frame.
        hop: samples from one frame to the next.

    >>> signal, window = torch.randn(1, 1000), torch.hann_window(400)
    >>> spectrum = torch.stft(signal, 400, 160, window=window, center=False, return_complex=True)
    >>> torch.allclose(power_spectrum(signal, window, 160), spectrum.abs().square(), atol=1e-3)
    True
    """
    size = len(window)
    turns = torch.arange(size // 2 + 1)[:, None] * torch.arange(size) % size  # whole turns are left out exactly
    angles = turns.double() * (2 * math.pi / size)
    waves = torch.cat([angles.cos(), angles.sin()]).to(window) * window
    real, imaginary = conv1d(signal[:, None], waves[:, None], stride=hop).chunk(2, dim=1)
    return real.square() + imaginary.square()

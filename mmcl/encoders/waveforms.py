"""What every audio encoder takes: a padded batch of waveforms and how long each is."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.errors import ShapeError

SHORTEST = 400  #: samples (25 ms): one window of a spectrogram, and the receptive field of a step of wav2vec 2.0


def checked_lengths(waveforms: Tensor, lengths: Tensor | None, *, max_seconds: float | None = None) -> Tensor:
    """Return the ``lengths`` in samples of ``waveforms``, all of it where None, once they are known to fit.

    Args:
        waveforms: floating point ``(batch, samples)``, zero after each length.
        lengths: ``(batch,)``.
        max_seconds: what the encoder can take.

    Raises:
        ShapeError: wrong shapes, a length outside the batch, or an utterance that is too short or too long.

    >>> checked_lengths(torch.zeros(2, 800), torch.tensor([800, 400])).tolist()
    [800, 400]
    """
    if waveforms.dim() != 2 or not waveforms.is_floating_point():
        raise ShapeError(
            f"audio is {waveforms.dtype} of shape {tuple(waveforms.shape)}, expected float (batch, samples): "
            "mix down to mono and collate"
        )
    if lengths is None:
        lengths = torch.full((len(waveforms),), waveforms.shape[1], device=waveforms.device)
    if torch.compiler.is_exporting():
        return lengths  # whose values are not known
    if lengths.shape != waveforms.shape[:1]:
        raise ShapeError(f"audio lengths have shape {tuple(lengths.shape)}, expected ({len(waveforms)},)")
    shortest, longest = (int(extreme) for extreme in lengths.aminmax())
    if longest > waveforms.shape[1]:
        raise ShapeError(
            f"an audio length is {longest}, expected at most the {waveforms.shape[1]} samples of the batch"
        )
    if shortest < SHORTEST:
        raise ShapeError(
            f"utterance {int(lengths.argmin())} of the batch has {shortest} samples, expected at least {SHORTEST} "
            f"({1000 * SHORTEST // SAMPLE_RATE} ms): leave it out"
        )
    if max_seconds is not None and longest > max_seconds * SAMPLE_RATE:
        raise ShapeError(
            f"utterance {int(lengths.argmax())} of the batch lasts {longest / SAMPLE_RATE:.2f} s, the encoder takes at "
            f"most {max_seconds:g} s: leave it out with max_seconds={max_seconds:g} on the data set, or cut it"
        )
    return lengths


def normalized(waveforms: Tensor, lengths: Tensor, epsilon: float) -> Tensor:
    """Give each waveform mean 0 and variance 1 over its own samples; what is after its length becomes zero.

    ``(x - mean) / sqrt(variance + epsilon)``, which is what wav2vec 2.0 and its kin were trained on. A waveform
    that does not vary becomes zero.

    >>> normalized(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([2]), epsilon=0.0).tolist()
    [[-1.0, 1.0, 0.0]]
    """
    mask = length_mask(lengths, waveforms.shape[1])
    counts = lengths[:, None].clamp(min=1)
    centred = (waveforms - (waveforms * mask).sum(1, keepdim=True) / counts) * mask
    deviation = (centred.square().sum(1, keepdim=True) / counts + epsilon).sqrt()
    return centred / (deviation if epsilon else torch.where(deviation > 0, deviation, 1))


def in_32_bits(front_end: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method that makes a spectrogram of waveforms keep 32 bits where ``torch.autocast`` is on: the logarithm of
    what is nearly silent would not be the same in 16."""

    @wraps(front_end)
    def kept(self: Any, waveforms: Tensor, *args: Any) -> Any:
        with torch.autocast(waveforms.device.type, enabled=False):
            return front_end(self, waveforms, *args)

    return kept

"""Validation and normalization of padded waveform batches, shared by all audio encoders."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from mmcl.batch import length_mask
from mmcl.data.base import SAMPLE_RATE
from mmcl.encoders.standardize import masked_moments
from mmcl.errors import ShapeError

#: samples (25 ms): one spectrogram window, and the receptive field of one step of wav2vec 2.0
SHORTEST = 400

_ParametersT = ParamSpec("_ParametersT")
_ModuleT = TypeVar("_ModuleT")
_ResultT = TypeVar("_ResultT")


def checked_lengths(waveforms: Tensor, lengths: Tensor | None, *, max_seconds: float | None = None) -> Tensor:
    """Validate a batch of waveforms and return its ``lengths`` in samples.

    Args:
        waveforms: floating point ``(batch, samples)``, zero after each length.
        lengths: ``(batch,)``; None means that no waveform is padded.
        max_seconds: the longest utterance that the encoder accepts.

    Raises:
        ShapeError: if a shape or a length does not fit, or an utterance is too short or too long.

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
        return lengths  # their values are unknown during export
    if lengths.shape != waveforms.shape[:1]:
        raise ShapeError(f"audio lengths have shape {tuple(lengths.shape)}, expected ({len(waveforms)},)")
    shortest, longest = (int(extreme) for extreme in lengths.aminmax())
    if longest > waveforms.shape[1]:
        raise ShapeError(
            f"an audio length is {longest}, expected at most {waveforms.shape[1]}, the samples of the padded batch"
        )
    if shortest < SHORTEST:
        raise ShapeError(
            f"utterance {int(lengths.argmin())} of the batch has {shortest} samples, expected at least {SHORTEST} "
            f"({1000 * SHORTEST // SAMPLE_RATE} ms): remove it"
        )
    if max_seconds is not None and longest > max_seconds * SAMPLE_RATE:
        raise ShapeError(
            f"utterance {int(lengths.argmax())} of the batch lasts {longest / SAMPLE_RATE:.2f} s, expected at most "
            f"{max_seconds:g} s: cut it, or set max_seconds={max_seconds:g} on the data set to leave it out"
        )
    return lengths


def normalize_waveforms(waveforms: Tensor, lengths: Tensor, epsilon: float) -> Tensor:
    """Normalize each waveform to mean 0 and variance 1 over its own samples; the padding becomes zero.

    ``(x - mean) / sqrt(variance + epsilon)``, as in the training of wav2vec 2.0, HuBERT and WavLM. A constant waveform
    becomes zero.

    >>> normalize_waveforms(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([2]), epsilon=0.0).tolist()
    [[-1.0, 1.0, 0.0]]
    """
    mask = length_mask(lengths, waveforms.shape[1])
    centered, variance = masked_moments(waveforms, mask, lengths[:, None].clamp(min=1), dim=1)
    deviation = (variance + epsilon).sqrt()
    return centered / (deviation if epsilon else torch.where(deviation > 0, deviation, 1))


def without_autocast(
    method: Callable[Concatenate[_ModuleT, Tensor, _ParametersT], _ResultT],
) -> Callable[Concatenate[_ModuleT, Tensor, _ParametersT], _ResultT]:
    """Decorate a method of waveforms so that it computes in float32 under ``torch.autocast``.

    In 16 bits, the logarithm of a nearly silent spectrogram would differ.
    """

    @wraps(method)
    def in_float32(
        self: _ModuleT, waveforms: Tensor, /, *args: _ParametersT.args, **options: _ParametersT.kwargs
    ) -> _ResultT:
        with torch.autocast(waveforms.device.type, enabled=False):
            return method(self, waveforms, *args, **options)

    return in_float32

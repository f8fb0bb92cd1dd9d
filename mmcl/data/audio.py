"""Decoding of audio files to mono waveforms."""

from __future__ import annotations

import logging
from fractions import Fraction
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.transforms import Resample

from mmcl.data.audio_formats.opening import open_recording
from mmcl.data.audio_formats.sound import LONGEST, RATES, check_length
from mmcl.data.base import SAMPLE_RATE, SILENCE
from mmcl.errors import AudioError, ConfigError

logger = logging.getLogger(__name__)

_FILTER = 4_000_000  # maximum number of coefficients of a resampling filter
_LOUDEST = 8.0  # 18 dB over full scale: above any floating-point mix, far below integer samples
_LOUD = 2.0  # 6 dB over full scale: more than clipping explains
_CANCELLED = 0.25  # fraction of the power of a mix of uncorrelated channels


class Examined(NamedTuple):
    """A decoded file.

    Attributes:
        waveform: mono waveform ``(samples,)``.
        rate: sample rate in hertz.
        warnings: audio that was not decoded as recorded, and why.
        notes: errors of the header that do not affect the decoded audio.
    """

    waveform: NDArray[np.float32]
    rate: int
    warnings: tuple[str, ...]
    notes: tuple[str, ...]


def load_audio(path: str | Path, sample_rate: int = SAMPLE_RATE, *, max_seconds: float | None = None) -> Tensor:
    """Decode a file into a mono float32 waveform ``(samples,)`` at ``sample_rate`` hertz.

    WAV, FLAC, OGG, MP3 and similar formats are decoded directly; others such as M4A or WebM need the program ffmpeg.
    Files are read to the end, whatever length their header claims. Channels are averaged; if they cancel one another,
    the loudest channel is used, with a warning. Other sample rates are resampled. Silence is accepted.

    Args:
        path: audio file.
        sample_rate: sample rate of the result, in hertz.
        max_seconds: maximum length of the recording; None for two hours.

    Raises:
        MissingDataError: the file does not exist.
        AudioError: the file is empty, truncated, damaged, too long or not audio; it needs ffmpeg, which is not
            installed; or its samples are not finite, or are scaled as integers.
        ConfigError: ``sample_rate`` is too low for speech, or too high.

    >>> import soundfile, tempfile
    >>> path = Path(tempfile.mkdtemp(), "tone.wav")
    >>> soundfile.write(path, np.sin(np.arange(8000) / 4), 8000)
    >>> load_audio(path).shape, audio_seconds(path)
    (torch.Size([16000]), 1.0)
    """
    if not RATES[0] <= sample_rate <= RATES[1]:
        bound = f"{RATES[0]} or more" if sample_rate < RATES[0] else f"{RATES[1]} or less"
        raise ConfigError(f"sample_rate is {sample_rate} Hz, expected {bound}")
    waveform, rate = decode(path, max_seconds=max_seconds)
    return _resampled(torch.from_numpy(waveform), rate, sample_rate)


def load_speech(path: str | Path, *, max_seconds: float | None = None) -> Tensor:
    """Load a recording for prediction as :func:`load_audio` does, but raise AudioError if it is silent."""
    waveform = load_audio(path, max_seconds=max_seconds)
    if (peak := float((waveform - waveform.mean()).abs().max())) < SILENCE:
        raise AudioError(f"{path} is silent, its loudest sample is {peak:.2g}: expected speech, record it again")
    return waveform


def decode(path: str | Path, *, max_seconds: float | None = None) -> tuple[NDArray[np.float32], int]:
    """Decode a file to a mono waveform ``(samples,)`` and its sample rate in hertz; raises as :func:`load_audio`."""
    found = examine(path, max_seconds=max_seconds)
    for warning in found.warnings:
        _warn_once(f"{path} {warning}")
    return found.waveform, found.rate


def examine(path: str | Path, *, max_seconds: float | None = None) -> Examined:
    """Decode a file as :func:`decode` does, but return its warnings and notes instead of logging them."""
    path = Path(path)
    longest = LONGEST if max_seconds is None else max_seconds
    try:
        recording = open_recording(path)
        sounds = recording.read(longest)
        rate = sounds[0].rate
        notes = [note for sound in sounds if (note := _checked_scale(path, sound.samples))]
        warnings: list[str] = []
        waveforms = [_mixed(sound.samples, warnings) for sound in sounds]
        if len(sounds) > 1:
            check_length(path, sum(map(len, waveforms)), max(sound.rate for sound in sounds), 1, longest)
            tensors = (torch.from_numpy(each) for each in waveforms)
            parts = zip(tensors, sounds, strict=True)
            waveform = torch.cat([_resampled(each, sound.rate, rate) for each, sound in parts]).numpy()
        else:
            waveform = waveforms[0]
    except MemoryError as error:
        raise AudioError(f"{path} does not fit into memory: split it into shorter files") from error
    except (OSError, RuntimeError) as error:
        raise AudioError(f"{path} cannot be decoded ({error}): copy it again from its source") from error
    if not len(waveform):
        raise AudioError(f"{path} has 0 samples, expected at least 1: copy it again from its source")
    return Examined(waveform, rate, (*warnings, *recording.warnings), (*recording.notes, *notes))


def audio_seconds(path: str | Path) -> float:
    """Return the duration of a file in seconds; raises as :func:`load_audio`.

    The header is used if it is reliable; otherwise the file is decoded.
    """
    seconds = open_recording(Path(path)).seconds
    if seconds is not None:
        return seconds
    waveform, rate = decode(path)
    return len(waveform) / rate


def _checked_scale(path: Path, samples: NDArray[np.float32]) -> str:
    """Refuse samples that are scaled as integers; return a remark on loudness, or an empty string.

    Floating-point samples may slightly exceed 1 through clipping.
    """
    if not np.isfinite(samples).all():
        raise AudioError(f"{path} has samples that are not finite, expected numbers in [-1, 1]: encode it again")
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    if peak <= 1:
        return ""
    if peak <= _LOUDEST and (samples != np.round(samples)).any():
        return f"is loud: its loudest sample is {peak:.2g}, where 1 is full scale" if peak > _LOUD else ""
    scale = next((2**bits for bits in (7, 15, 23, 31) if peak <= 2**bits), None)
    cause = f"integers that were not divided by their full scale, such as {scale}" if scale else "noise"
    raise AudioError(
        f"{path} has {np.count_nonzero(np.abs(samples) > 1)} of {samples.size} samples outside [-1, 1], up to "
        f"{peak:g}: they look like {cause}; divide them, and write the file again"
    )


def _mixed(samples: NDArray[np.float32], warnings: list[str]) -> NDArray[np.float32]:
    """Return the mean of the channels, or the loudest channel if the mean cancels them."""
    if samples.shape[1] == 1:
        return np.ascontiguousarray(samples[:, 0])
    # The mean is a new array, so no view keeps all channels alive.
    mean: NDArray[np.float32] = samples.mean(axis=1)
    if not len(mean):
        return mean
    powers = samples.var(axis=0, dtype=np.float64)  # the variance ignores a constant offset, which is inaudible
    power = float(mean.var(dtype=np.float64))
    loudest = int(powers.argmax())
    is_silent = np.sqrt(powers[loudest]) < SILENCE / 10  # noise of a few quantization steps of 16 bits
    if is_silent or power >= _CANCELLED * float(powers.sum()) / samples.shape[1] ** 2:
        return mean
    quieter = f"{10 * np.log10(powers[loudest] / power):.0f} dB quieter than" if power > 0 else "silent, unlike"
    warnings.append(
        f"has channels that cancel one another: their mean is {quieter} channel {loudest + 1}, which is used alone "
        "(check the phase of the channels)"
    )
    return samples[:, loudest].copy()


def _resampled(audio: Tensor, rate: int, sample_rate: int) -> Tensor:
    if rate == sample_rate:
        return audio
    # Rates without a common divisor would need a filter of gigabytes; a ratio within a millionth has a small one.
    ratio = Fraction(rate, sample_rate).limit_denominator(min(1_000, isqrt(_FILTER * sample_rate // rate)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # an utterance is too short to parallelise: on a busy machine threads are 50 times slower
    try:
        return _resampler(ratio.numerator, ratio.denominator)(audio)
    finally:
        torch.set_num_threads(threads)


@lru_cache(maxsize=8)
def _resampler(rate: int, new_rate: int) -> Resample:
    return Resample(rate, new_rate)  # cached: for 44.1 kHz building the filter takes longer than applying it


@lru_cache(maxsize=4096)
def _warn_once(message: str) -> None:
    logger.warning(message)  # once per file, not once per epoch

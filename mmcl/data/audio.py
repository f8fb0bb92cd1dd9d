"""Files of sound in, waveforms out."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchaudio.transforms import Resample

from mmcl.data.base import SAMPLE_RATE
from mmcl.errors import AudioError, ConfigError, MissingDataError

_LOWEST_RATE = 1_000  # hertz; speech below is a broken header, and a rate of 1 Hz would resample to terabytes
_STREAMED = 0x7FFFF000  # sizes from here on are what programs write into a WAV header while the end is unknown


def load_audio(path: str | Path, sample_rate: int = SAMPLE_RATE) -> Tensor:
    """Decode a file into a mono float32 waveform ``(samples,)`` at ``sample_rate`` hertz.

    Channels are averaged and other sample rates resampled. Silence is audio. A cut file is recognised if it is WAV,
    FLAC or MP3; the headers of other formats do not tell.

    Raises:
        MissingDataError: there is no such file.
        AudioError: the file is empty, truncated, not audio, or has samples that are not finite.
        ConfigError: ``sample_rate`` is too low for speech.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "tone.wav")
    >>> soundfile.write(path, np.sin(np.arange(8000) / 4), 8000)
    >>> load_audio(path).shape, audio_seconds(path)
    (torch.Size([16000]), 1.0)
    """
    if sample_rate < _LOWEST_RATE:
        raise ConfigError(f"sample_rate is {sample_rate} Hz, expected {_LOWEST_RATE} or more")
    waveform, rate = decode(path)
    audio = torch.from_numpy(waveform)
    if rate == sample_rate:
        return audio
    # A rate without a common divisor would need a filter of gigabytes; within a millionth of it there is a small one.
    ratio = Fraction(rate, sample_rate).limit_denominator(1_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # one utterance is too short to share: on a busy machine the threads wait 50 times longer
    try:
        return _resampler(ratio.numerator, ratio.denominator)(audio)
    finally:
        torch.set_num_threads(threads)


def decode(path: str | Path) -> tuple[NDArray[np.float32], int]:
    """Decode a file into a mono waveform ``(samples,)`` and its own sample rate in hertz; raises as `load_audio`."""
    path = Path(path)
    with _open(path) as file:
        frames, rate = file.frames, int(file.samplerate)
        try:
            samples: NDArray[np.float32] = file.read(dtype="float32", always_2d=True)
        except (RuntimeError, MemoryError, ValueError) as error:
            raise AudioError(
                f"{path} is truncated or damaged: its header promises {frames} samples, which cannot be decoded; "
                "copy it again from its source"
            ) from error
        if len(samples) < frames or (file.format.startswith("WAV") and _is_cut_wav(path)):
            raise AudioError(
                f"{path} is truncated: it holds {len(samples)} samples, its header promises more; "
                "copy it again from its source"
            )
    # The mean is copied out of a column, so that no view keeps two channels alive.
    waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path} has samples that are not finite, expected numbers in [-1, 1]: encode it again")
    return waveform, rate


def audio_seconds(path: str | Path) -> float:
    """Read the length of a file in seconds from its header, without decoding it; raises as `load_audio`."""
    with _open(Path(path)) as file:
        return file.frames / file.samplerate


def _open(path: Path) -> soundfile.SoundFile:
    """Open a file whose header says that there is something to decode."""
    if not path.exists():
        raise MissingDataError(f"there is no file {path}: check the path, or copy the data set again from its source")
    if not path.is_file():
        raise AudioError(f"{path} is not a file, expected audio")
    if path.stat().st_size == 0:
        raise AudioError(f"{path} is empty (0 bytes), expected audio: copy it again from its source")
    try:
        file = soundfile.SoundFile(path)
    except (RuntimeError, TypeError) as error:  # libsndfile's own, and soundfile's for a headerless .raw
        raise AudioError(
            f"{path} is not audio ({getattr(error, 'error_string', error)}): its {path.stat().st_size} bytes have no "
            "header of WAV, FLAC, OGG or MP3; copy it again from its source"
        ) from error
    if file.frames == 0 or file.samplerate < _LOWEST_RATE:
        file.close()
        raise AudioError(
            f"{path} has {file.frames} samples at {file.samplerate} Hz, expected at least 1 sample at "
            f"{_LOWEST_RATE} Hz or more: copy it again from its source"
        )
    return file


@lru_cache(maxsize=8)
def _resampler(rate: int, new_rate: int) -> Resample:
    return Resample(rate, new_rate)  # holds the filter, which for 44.1 kHz takes longer to make than to use


def _is_cut_wav(path: Path) -> bool:
    """Tell if a WAV file ends before its header says; libsndfile corrects the number of samples without a word."""
    with path.open("rb") as file:
        if file.read(4) != b"RIFF":  # RIFX and RF64 count in other ways
            return False
        file.seek(12)
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"data":
                return size < _STREAMED and file.tell() + size > path.stat().st_size
            file.seek(size + size % 2, 1)
    return False

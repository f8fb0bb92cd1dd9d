"""Decoded samples, and the limits on length, rate and channels that all decoders enforce."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from mmcl.errors import AudioError

LONGEST = 7200.0  #: default maximum length of a recording in seconds
RATES = (1_000, 384_000)  #: lowest and highest sample rate in hertz; others indicate a broken header
MOST_CHANNELS = 64
MOST_VALUES = 2**29  # samples of all channels: 2 GiB in float32
_BLOCK = 2**18  # samples per channel


class Sound(NamedTuple):
    """Samples ``(samples, channels)`` and their rate in hertz."""

    samples: NDArray[np.float32]
    rate: int


class Recording(ABC):
    """An opened audio file.

    Attributes:
        path: the file.
        seconds: duration, if the header is reliable; None if only decoding tells it.
        notes: errors of the header that do not affect the decoded audio; filled by ``read``.
        warnings: data that is not decoded; filled by ``read``.
    """

    seconds: float | None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self.warnings: list[str] = []

    @abstractmethod
    def read(self, max_seconds: float) -> list[Sound]:
        """Decode all streams in order; raises AudioError, also if they exceed ``max_seconds``."""

    def note_length(self, claimed: float, seconds: float) -> None:
        """Note a header that is wrong by more than a tenth of a second."""
        if abs(claimed - seconds) > 0.1:
            self.notes.append(f"its header says {claimed:.1f} s, but it lasts {seconds:.1f} s")


def read_stream(path: Path, stream: soundfile.SoundFile, max_seconds: float) -> NDArray[np.float32]:
    """Read a stream of libsndfile to its end in blocks, ``(samples, channels)``; raises AudioError."""
    check_header(path, stream.samplerate, stream.channels)
    claimed = int(stream.frames)
    known = claimed < 2**60
    if known:
        check_length(path, claimed, stream.samplerate, stream.channels, max_seconds)
    blocks: list[NDArray[np.float32]] = []
    count = 0
    try:
        while not known or count < claimed:
            step = min(claimed - count, 8 * _BLOCK) if known else _BLOCK
            block = stream.read(step, dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(block)
            count += len(block)
            check_length(path, count, stream.samplerate, stream.channels, max_seconds)
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate(blocks) if blocks else np.zeros((0, stream.channels), np.float32)
    except (RuntimeError, MemoryError, ValueError) as error:
        raise damaged(path, claimed if known else None) from error


def check_header(path: Path, rate: int, channels: int) -> None:
    """Check the sample rate and the number of channels; raises AudioError if no recording has such values."""
    if not RATES[0] <= rate <= RATES[1]:
        raise AudioError(
            f"{path} has a sample rate of {rate} Hz, expected {RATES[0]} Hz or more, at most {RATES[1]} Hz: "
            "copy it again from its source"
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise AudioError(
            f"{path} has {channels} channels, expected 1 to {MOST_CHANNELS}: copy it again from its source"
        )


def check_length(path: Path, count: int, rate: int, channels: int, max_seconds: float) -> None:
    """Check that a recording is not longer than allowed and fits into memory; raises AudioError."""
    if count > max_seconds * rate:
        raise AudioError(
            f"{path} lasts {count / rate:.1f} s or more, expected at most {max_seconds:g} s: "
            "split it into shorter files"
        )
    if count * channels > MOST_VALUES:
        raise AudioError(
            f"{path} has {count} samples or more in {channels} channels, expected at most {MOST_VALUES // channels}: "
            "split it into shorter files"
        )


def truncated(path: Path, count: int) -> AudioError:
    """Return the error for a file that ends before its header says."""
    return AudioError(
        f"{path} is truncated: it holds {count} samples, its header promises more; copy it again from its source"
    )


def damaged(path: Path, claimed: int | None) -> AudioError:
    """Return the error for a file with samples that cannot be decoded, given the number that its header claims."""
    promise = "its samples" if claimed is None else f"its header promises {claimed} samples, which"
    return AudioError(
        f"{path} is truncated or damaged: {promise} cannot be decoded to the end; copy it again from its source"
    )


def several(path: Path) -> AudioError:
    """Return the error for concatenated files, of which decoders would read the first only."""
    return AudioError(f"{path} holds several files one after the other, expected one: split it")

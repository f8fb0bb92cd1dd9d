"""Opening of recordings: detect the format by content and return a reader for it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from mmcl.data.audio_formats.chunks import Payload, payload, with_size
from mmcl.data.audio_formats.ffmpeg import ForeignRecording, recognised
from mmcl.data.audio_formats.flac import FlacRecording
from mmcl.data.audio_formats.libsndfile import Stream, open_bytes, open_path
from mmcl.data.audio_formats.mpeg import MpegRecording
from mmcl.data.audio_formats.ogg import OggRecording
from mmcl.data.audio_formats.sound import RATES, Recording, Sound, check_header, read_stream, several, truncated
from mmcl.errors import AudioError, MissingDataError

_SMALL = 64  # bytes: less than a sound that anybody would miss


def open_recording(path: Path) -> Recording:
    """Open a recording whose header declares audio.

    Raises:
        MissingDataError: the file does not exist.
        AudioError: the file is empty, not audio, truncated, or of a format that cannot be decoded here.
    """
    try:
        if not path.exists():
            raise MissingDataError(
                f"there is no file {path}: check the path, or copy the data set again from its source"
            )
        if not path.is_file():
            raise AudioError(f"{path} is not a file, expected audio")
        length = path.stat().st_size
        if length == 0:
            raise AudioError(f"{path} is empty (0 bytes), expected audio: copy it again from its source")
        with path.open("rb") as file:
            magic = file.read(4)
            found = payload(file, length)
        return OggRecording(path) if magic == b"OggS" else _opened(path, found, length)
    except OSError as error:
        raise AudioError(f"{path} cannot be read ({error.strerror}): check its permissions") from error
    except MemoryError as error:
        raise AudioError(f"{path} does not fit into memory: split it into shorter files") from error


class OrdinaryRecording(Recording):
    """A file that libsndfile reads directly: WAV, AIFF, AU, CAF and similar formats.

    Args:
        path: the file.
        found: samples declared by the header; None if it declares none.
        rate: sample rate in hertz.
        frames: samples per channel that libsndfile counts.
        is_unsized: True if the header lacks a size that libsndfile needs.
    """

    def __init__(self, path: Path, found: Payload | None, rate: int, frames: int, is_unsized: bool = False) -> None:
        super().__init__(path)
        self._payload, self._is_unsized = found, is_unsized
        self.seconds = frames / rate

    def read(self, max_seconds: float) -> list[Sound]:
        length = self.path.stat().st_size
        found = self._payload
        with ExitStack() as stack:
            if found is not None and self._is_unsized:
                stream = stack.enter_context(open_bytes(with_size(self.path.read_bytes(), found)))
            else:
                stream = stack.enter_context(open_path(self.path))
            samples = read_stream(self.path, stream, max_seconds)
            if len(samples) < stream.frames or (found is not None and found.is_cut(length)):
                raise truncated(self.path, len(samples))
            rate = int(stream.samplerate)
        if found is not None and length - found.end >= _SMALL:
            with self.path.open("rb") as file:
                magic = file.read(4)
                file.seek(found.end)
                if file.read(4) == magic:
                    raise several(self.path)
            self.warnings.append(
                f"has {length - found.end} bytes after the {len(samples)} samples that its header promises, which are "
                "not read: check that it is whole"
            )
        return [Sound(samples, rate)]


def _opened(path: Path, found: Payload | None, length: int) -> Recording:
    try:
        stream, is_unsized = _stream(path, found)
    except (RuntimeError, TypeError) as error:  # libsndfile's own, and soundfile's for a headerless .raw
        return _foreign(path, found, length, error)
    with stream:
        rate, frames = int(stream.samplerate), int(stream.frames)
        if stream.format == "RAW":  # guessed by its suffix: a text file called .au would be noise
            raise _not_audio(path, length, "without a header")
        if frames == 0 or not RATES[0] <= rate <= RATES[1]:
            raise AudioError(
                f"{path} has {frames} samples at {rate} Hz, expected at least 1 sample at {RATES[0]} Hz or more and "
                f"{RATES[1]} Hz or less: copy it again from its source"
            )
        check_header(path, rate, stream.channels)
        if stream.subtype.startswith("MPEG"):
            return MpegRecording(path, stream)
        if stream.format == "FLAC":
            return FlacRecording(path, stream)
        return OrdinaryRecording(path, found, rate, frames, is_unsized)


def _stream(path: Path, found: Payload | None) -> tuple[Stream, bool]:
    """Return a stream of libsndfile, and whether it needed a size that the header lacks."""
    unsized = found if found is not None and found.size is None else None
    try:
        stream = open_path(path)
        if stream.frames or unsized is None:
            return stream, False
        stream.close()
    except RuntimeError:
        if unsized is None:
            raise
    return open_bytes(with_size(path.read_bytes(), unsized)), True


def _foreign(path: Path, found: Payload | None, length: int, error: Exception) -> Recording:
    """Return a reader with ffmpeg for a file that libsndfile cannot open, or raise an error that says what is wrong."""
    if found is not None and found.is_cut(length):
        raise AudioError(
            f"{path} is truncated: it holds {length - found.start} bytes of samples, its header promises {found.size}; "
            "copy it again from its source"
        ) from error
    with path.open("rb") as file:
        magic = file.read(4)
        if found is not None:
            file.seek(found.end)
            if file.read(4) == magic:
                raise several(path) from error
    format = recognised(path, found.codec if found is not None else None)
    if format is None:
        raise _not_audio(path, length, str(getattr(error, "error_string", error))) from error
    return ForeignRecording(path, format)


def _not_audio(path: Path, length: int, why: str) -> AudioError:
    return AudioError(
        f"{path} is not audio ({why}): its {length} bytes have no header of WAV, FLAC, OGG or MP3; "
        "copy it again from its source"
    )

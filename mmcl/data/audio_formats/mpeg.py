"""MPEG audio (MP3 and layer II): frames are counted because the header often lacks or only estimates the length."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from mmcl.data.audio_formats.chunks import payload
from mmcl.data.audio_formats.libsndfile import Stream, open_path, piped
from mmcl.data.audio_formats.sound import Recording, Sound, damaged, read_stream, truncated

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # MPEG 1, 2 and 2.5
_BITRATES = {  # kbit/s, by (is MPEG 1, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class _Frame(NamedTuple):
    kind: tuple[int, int, int]  # version, layer and rate: equal in all frames of a stream
    size: int  # bytes
    samples: int
    side: int  # offset of a Xing header, which takes the place of audio data


class Frames(NamedTuple):
    """The frames of a stream.

    Attributes:
        start: offset of the first audio frame.
        number: number of audio frames.
        samples: samples per channel and frame.
        promised: number of frames in the Xing header; None without that header.
        is_cut: whether the content ends inside the last frame.
    """

    start: int
    number: int
    samples: int
    promised: int | None
    is_cut: bool


def count_frames(content: bytes, start: int = 0, end: int | None = None) -> Frames | None:
    """Count the frames between two offsets; None if there are none, or their rate is undefined (free format).

    >>> frame = bytes([0xFF, 0xFB, 0x90, 0x00]) + bytes(413)  # 128 kbit/s at 44.1 kHz
    >>> count_frames(frame * 3)
    Frames(start=0, number=3, samples=1152, promised=None, is_cut=False)
    >>> count_frames(frame * 3 + frame[:100]).is_cut
    True
    """
    end = len(content) if end is None else end
    position = _next(content, _after_tags(content, start), end, None)
    first = None if position is None else _frame(content, position)
    if position is None or first is None:
        return None
    promised = _promised(content[position : position + first.size], first)
    if promised is not None:
        position += first.size
    begun, count, is_cut = position, 0, False
    while position < end:
        frame = _frame(content, position)
        if frame is None or frame.kind != first.kind:
            found = _next(content, position + 1, end, first.kind)
            if found is None:
                break  # a tag, or data that is not part of the stream
            position = found
            continue
        if position + frame.size > end:
            is_cut = True
            break
        position += frame.size
        count += 1
    return Frames(begun, count, first.samples, promised, is_cut)


class MpegRecording(Recording):
    """A file of MPEG audio, or WAV with MPEG audio."""

    def __init__(self, path: Path, stream: Stream) -> None:
        super().__init__(path)
        self._rate, self._frames = int(stream.samplerate), int(stream.frames)
        content = path.read_bytes()
        with path.open("rb") as file:
            inside = payload(file, len(content))
        start, end = (0, len(content)) if inside is None else (inside.start, len(content))
        if inside is not None and inside.size is not None:
            if inside.is_cut(len(content)):
                raise truncated(path, self._frames)
            end = inside.start + inside.size
        self._found = count_frames(content, start, end)
        found = self._found
        # Some Xing headers count their own frame too, so a difference of one frame is normal.
        self._is_counted = found is None or (found.promised is not None and abs(found.promised - found.number) <= 1)
        self._content = memoryview(content)[found.start if found else start : end]
        if self._is_counted:
            self.seconds = self._frames / self._rate

    def read(self, max_seconds: float) -> list[Sound]:
        found = self._found
        if found is not None and (found.is_cut or (found.promised or 0) > found.number + 1):
            raise truncated(self.path, found.number * found.samples)
        if found is None or self._is_counted:
            with open_path(self.path) as stream:
                stream.seek(0)  # rounds to the last bit as soundfile.read does
                samples = read_stream(self.path, stream, max_seconds)
            expected = self._frames
        else:
            with piped(self._content) as stream:
                samples = read_stream(self.path, stream, max_seconds)
            expected = found.number * found.samples
            self.note_length(self._frames / self._rate, len(samples) / self._rate)
        # A decoder may output nothing for the first frames, which depend on missing earlier ones.
        if len(samples) < expected - (2 * found.samples if found else 0):
            raise damaged(self.path, expected)
        return [Sound(samples, self._rate)]


def _frame(content: bytes, position: int) -> _Frame | None:
    if position + 4 > len(content):
        return None
    (head,) = struct.unpack_from(">I", content, position)
    version, layer, bitrate, rate = head >> 19 & 3, 4 - (head >> 17 & 3), head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return None
    hertz = _RATES[version][rate]
    bits = 1000 * _BITRATES[version == 3, layer][bitrate - 1]
    padding = head >> 9 & 1
    if layer == 1:
        return _Frame((version, layer, hertz), (12 * bits // hertz + padding) * 4, 384, 0)
    samples = 1152 if layer == 2 or version == 3 else 576
    is_mono = head >> 6 & 3 == 3
    side = {(True, False): 32, (True, True): 17, (False, False): 17, (False, True): 9}[version == 3, is_mono]
    return _Frame((version, layer, hertz), samples // 8 * bits // hertz + padding, samples, 4 + side)


def _next(content: bytes, position: int, end: int, kind: tuple[int, int, int] | None) -> int | None:
    """Return the offset of the next frame that is followed by another frame or the end."""
    while (position := content.find(b"\xff", position, end)) >= 0:
        frame = _frame(content, position)
        if frame is not None and kind in (None, frame.kind):
            after = position + frame.size
            follower = _frame(content, after)
            if after == end or (after < end and follower is not None and follower.kind == frame.kind):
                return position
        position += 1
    return None


def _after_tags(content: bytes, position: int) -> int:
    while content[position : position + 3] == b"ID3" and len(content) > position + 10:
        size = 0
        for byte in content[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size
    return position


def _promised(frame: bytes, first: _Frame) -> int | None:
    if frame[first.side : first.side + 4] not in (b"Xing", b"Info") or first.kind[1] != 3:
        return None
    flags, count = struct.unpack_from(">II", frame, first.side + 4)
    return count if flags & 1 else None

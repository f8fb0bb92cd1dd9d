"""FLAC files: the numbers of the frames give the length if the header lacks it or is wrong."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from mmcl.data.audio_formats.libsndfile import Stream, open_bytes, open_path
from mmcl.data.audio_formats.sound import Recording, Sound, damaged, read_stream, several, truncated

_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{code: 256 << code - 8 for code in range(8, 16)}}
_LARGEST = 2**22  # maximum number of bytes of a frame, and of tags after the last frame
_COUNT = 21  # offset of the 36-bit number of samples; its first four bits share a byte with other data


class FlacRecording(Recording):
    """A FLAC file."""

    def __init__(self, path: Path, stream: Stream) -> None:
        super().__init__(path)
        self._rate = int(stream.samplerate)
        self._content = path.read_bytes()
        self._start = self._content.find(b"fLaC")
        count = self._content[self._start + _COUNT : self._start + _COUNT + 5]
        self._claimed = int.from_bytes(count, "big") & 0xFFFFFFFFF
        self._first, self._last = span(self._content, self._start)
        if self._claimed and self._last - self._first == self._claimed:
            self.seconds = self._claimed / self._rate

    def read(self, max_seconds: float) -> list[Sound]:
        for magic in (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22"):
            if self._content.find(magic, self._start + 1) >= 0:
                raise several(self.path)
        # A truncated file misses (part of) its last frame. An excerpt may still have the count of the whole recording.
        if self._claimed > self._last or self.seconds is not None:
            with open_path(self.path) as stream:
                samples = read_stream(self.path, stream, max_seconds)
            if len(samples) < self._claimed:
                raise truncated(self.path, len(samples))
        else:
            content = bytearray(self._content)
            content[self._start + _COUNT] &= 0xF0
            content[self._start + _COUNT + 1 : self._start + _COUNT + 5] = bytes(4)
            with open_bytes(content) as stream:
                samples = read_stream(self.path, stream, max_seconds)
            if len(samples) != self._last - self._first:
                raise damaged(self.path, self._claimed or None)
            if self._claimed:
                self.note_length(self._claimed / self._rate, len(samples) / self._rate)
        return [Sound(samples, self._rate)]


def span(content: bytes, start: int = 0) -> tuple[int, int]:
    """Return the number of the first sample and one plus that of the last, from the frames; zeros without frames.

    Args:
        content: content of the file.
        start: offset of its ``fLaC``.
    """
    position, is_last = start + 4, False
    smallest = int.from_bytes(content[start + 8 : start + 10], "big")
    while not is_last and position + 4 <= len(content):  # blocks of metadata
        is_last = bool(content[position] & 0x80)
        position += 4 + int.from_bytes(content[position + 1 : position + 4], "big")
    first = _frame(content, position, smallest)
    if first is None:
        return 0, 0
    end = len(content)
    begin = max(position, end - _LARGEST)
    sync = content[position : position + 2]
    while (end := content.rfind(sync, begin, end)) >= 0:
        last = _frame(content, end, smallest)
        if last is not None and content[end + 3] & 0xFE == content[position + 3] & 0xFE and last[0] >= first[0]:
            return first[0], last[0] + last[1]
        end += 1  # the second byte of the sync code may be the last byte searched
    return 0, 0


def _frame(content: bytes, position: int, block: int) -> tuple[int, int] | None:
    """Return the first sample of a frame and its number of samples; None if no header with a valid checksum is here."""
    head = content[position : position + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    more = 0 if head[4] < 0x80 else 8 - (head[4] ^ 0xFF).bit_length()  # bytes of the number, which is coded as in UTF-8
    if more == 1 or more == 8:
        return None
    more = max(more - 1, 0)
    number = head[4] & (0x7F if not more else 0x3F >> more)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at, code, rate = 5 + more, head[2] >> 4, head[2] & 15
    if code == 6:
        size, at = head[at] + 1, at + 1
    elif code == 7:
        size, at = int.from_bytes(head[at : at + 2], "big") + 1, at + 2
    elif code in _SIZES:
        size = _SIZES[code]
    else:
        return None
    at += 1 if rate == 12 else 2 if rate in (13, 14) else 0
    if at >= len(head) or rate == 15 or _checksum(head[:at]) != head[at]:
        return None
    return (number if head[1] & 1 else number * block), size


def _checksum(head: bytes) -> int:
    value = 0
    for byte in head:
        value = _table()[value ^ byte]
    return value


@lru_cache(maxsize=1)
def _table() -> list[int]:
    values = []
    for value in range(256):
        for _ in range(8):
            value = (value << 1 ^ (0x107 if value & 0x80 else 0)) & 0xFF
        values.append(value)
    return values

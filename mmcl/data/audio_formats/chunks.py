"""Location of samples in chunked formats (WAV and relatives, AIFF, CAF, AU, SPHERE), and their claimed size."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, NamedTuple

_UNKNOWN_32 = 0x7FFFF000  # writers that do not know the final size use values from here on
_UNKNOWN_64 = 2**62
_MOST_CHUNKS = 10_000
_NAME = re.compile(rb"[ -~]{4}")


class Payload(NamedTuple):
    """The samples in a file.

    Attributes:
        start: offset of the first byte of samples.
        size: number of bytes that the header claims; None if the writer did not know it.
        end: offset after the last chunk.
        field: offset of the size field, its format, and the offset from which it counts; for :func:`with_size`.
        codec: format tag of WAV and relatives; 0 otherwise.
    """

    start: int
    size: int | None
    end: int
    field: tuple[int, str, int]
    codec: int = 0

    def is_cut(self, length: int) -> bool:
        """Return whether a file of ``length`` bytes ends before its header says."""
        return self.size is not None and self.start + self.size > length


class _Layout(NamedTuple):
    first: int  # offset of the first chunk
    head: str  # name and size of a chunk
    samples: bytes  # name of the chunk that holds the samples
    inside: int  # bytes of that chunk before the first sample
    align: int
    counted: int = 0  # bytes of the head that the size counts


_RIFF = _Layout(12, "<4sI", b"data", 0, 2)
_LAYOUTS = {
    b"RIFF": _RIFF,
    b"RF64": _RIFF,
    b"RIFX": _RIFF._replace(head=">4sI"),
    b"FORM": _Layout(12, ">4sI", b"SSND", 8, 2),
    b"caff": _Layout(8, ">4sQ", b"data", 4, 1),
    b"riff": _Layout(40, "<4s12xQ", b"data", 0, 8, counted=24),
}


def payload(file: BinaryIO, length: int) -> Payload | None:
    """Find the samples in a file of ``length`` bytes; None if the format or the file does not declare them.

    >>> from io import BytesIO
    >>> wav = b"RIFF" + b"?" * 4 + b"WAVEfmt " + struct.pack("<IHH12x", 16, 1, 1) + b"data" + struct.pack("<I", 100)
    >>> payload(BytesIO(wav + bytes(60)), 104)
    Payload(start=44, size=100, end=104, field=(40, '<I', 44), codec=1)
    """
    file.seek(0)
    head = file.read(1024)
    if head[:4] in (b".snd", b"dns."):
        return _au(head, length)
    if head.startswith(b"NIST_1A"):
        return _sphere(head, length)
    layout = _LAYOUTS.get(head[:4])
    return None if layout is None else _chunked(file, head[:4], layout, length)


def with_size(content: bytes, found: Payload) -> bytearray:
    """Return the content with a size field that covers the rest of the file, for readers that trust the field."""
    changed = bytearray(content)
    offset, form, base = found.field
    struct.pack_into(form, changed, offset, min(len(content) - base, 2 ** (8 * struct.calcsize(form)) - 1))
    if changed[:4] == b"RF64":  # plain WAV needs no table of 64-bit sizes
        changed[:4] = b"RIFF"
    return changed


def _chunked(file: BinaryIO, magic: bytes, layout: _Layout, length: int) -> Payload | None:
    position, codec, long_size = layout.first, 0, 0
    header = struct.calcsize(layout.head)
    for _ in range(_MOST_CHUNKS):
        file.seek(position)
        head = file.read(header)
        if len(head) < header:
            return None
        name, size = struct.unpack(layout.head, head)
        size -= layout.counted
        if name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], "little")
        elif name == b"fmt ":
            fmt = file.read(26)
            codec = int.from_bytes(fmt[:2], "big" if magic == b"RIFX" else "little")
            if codec == 0xFFFE:
                codec = int.from_bytes(fmt[24:26], "little")
        elif name == layout.samples:
            break
        position += header + size + -size % layout.align
        if size < 0 or position > length or not _NAME.fullmatch(name):
            return None
    else:
        return None
    form = layout.head[0] + layout.head[-1]
    field = (position + header - struct.calcsize(form), form, position + header - layout.counted)
    start = position + header + layout.inside
    is_long = form[-1] == "Q" or magic == b"RF64"
    if magic == b"RF64" and size == 0xFFFFFFFF:
        size = long_size or _UNKNOWN_64
    is_unknown = size >= (_UNKNOWN_64 if is_long else _UNKNOWN_32)
    size -= layout.inside
    if is_unknown or size < 0:
        return Payload(start, None, length, field, codec)
    end = _end_of_chunks(file, layout, start + size, length)
    if size == 0 and end < length:  # a recorder that was stopped before it wrote the size
        return Payload(start, None, length, field, codec)
    return Payload(start, size, end, field, codec)


def _end_of_chunks(file: BinaryIO, layout: _Layout, position: int, length: int) -> int:
    """Return the offset after the last chunk that follows the samples."""
    header = struct.calcsize(layout.head)
    for _ in range(_MOST_CHUNKS):
        if position >= length:
            return length
        for start in (position + -position % layout.align, position):  # some writers omit the padding
            file.seek(start)
            head = file.read(header)
            if len(head) < header:
                continue
            name, size = struct.unpack(layout.head, head)
            after = start + header + size - layout.counted
            if _NAME.fullmatch(name) and name not in _LAYOUTS and start < after <= length:
                position = after
                break
        else:
            return position
    return min(position, length)


def _au(head: bytes, length: int) -> Payload | None:
    order = ">" if head[:1] == b"." else "<"
    if len(head) < 24:
        return None
    start, size = struct.unpack(f"{order}II", head[4:12])
    if size >= _UNKNOWN_32 or (size == 0 and start < length):
        return Payload(start, None, length, (8, f"{order}I", start))
    return Payload(start, size, min(start + size, length), (8, f"{order}I", start))


def _sphere(head: bytes, length: int) -> Payload | None:
    said = dict(re.findall(rb"(\w+) -i (\d{1,15})", head))
    try:
        start = int(head[8:16])
        sizes = [int(said[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
    except (KeyError, ValueError):
        return None
    size = sizes[0] * sizes[1] * sizes[2]
    return Payload(start, size, min(start + size, length), (0, "<I", start))

"""Ogg files: reads all chained streams, and streams of recorders that were stopped."""

from __future__ import annotations

import struct
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from mmcl.data.audio_formats import ffmpeg
from mmcl.data.audio_formats.libsndfile import open_bytes
from mmcl.data.audio_formats.sound import RATES, Recording, Sound, damaged, read_stream
from mmcl.errors import AudioError

_BEGINS, _ENDS = 2, 4  # flags of a page: first or last of its stream
_CODECS = {
    b"\x01vorbis": "Vorbis in Ogg",
    b"OpusHead": "Opus in Ogg",
    b"\x7fFLAC": "FLAC in Ogg",
    b"Speex   ": "Speex in Ogg",
    b"\x80theora": "Theora video in Ogg",
}


class Link(NamedTuple):
    """A stream of a chained file: its offset, the offset of its last page, its end and its codec."""

    start: int
    last: int
    end: int
    codec: str


def links(content: bytes) -> tuple[list[Link], bool]:
    """Split the content of a file into its streams, and return whether it ends inside a page."""
    found: list[Link] = []
    position, begins = 0, False
    while (position := content.find(b"OggS", position)) >= 0:
        head = position + 27
        if head > len(content):
            return found, True
        body = head + content[head - 1]
        end = body + sum(content[head:body])
        if end > len(content) or body > len(content):
            return found, content[position + 4] == 0  # the version of Ogg; other values mean that this is not a page
        if content[position + 5] & _BEGINS and not begins:
            packet = content[body : body + 8]
            codec = next((name for magic, name in _CODECS.items() if packet.startswith(magic)), "Ogg")
            found.append(Link(position, position, end, codec))
        elif found:
            found[-1] = found[-1]._replace(last=position, end=end)
        begins = bool(content[position + 5] & _BEGINS)
        position = end
    return found, False


def ended(content: bytes | bytearray, last: int) -> bytearray:
    """Return the content of a stream with its last page, at offset ``last``, marked as the last one."""
    changed = bytearray(content)
    changed[last + 5] |= _ENDS
    changed[last + 22 : last + 26] = bytes(4)
    value, table = 0, _table()
    for byte in changed[last:]:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    struct.pack_into("<I", changed, last + 22, value)
    return changed


class OggRecording(Recording):
    """A file of one or more Ogg streams."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        content = path.read_bytes()
        self._links, self._is_cut = links(content)
        if not self._links:
            raise AudioError(
                f"{path} is not audio (no stream begins in it): its {len(content)} bytes have no header of WAV, FLAC, "
                "OGG or MP3; copy it again from its source"
            )
        self._contents: list[bytes | bytearray] = []
        lengths: list[float] = []
        for link in self._links:
            part: bytes | bytearray = content[link.start : link.end]
            if link.codec == "Opus in Ogg" and not content[link.last + 5] & _ENDS:
                part = ended(part, link.last - link.start)
            self._contents.append(part)
            try:
                with open_bytes(part) as stream:
                    if 0 < stream.frames < 2**60 and stream.samplerate >= RATES[0]:
                        lengths.append(stream.frames / stream.samplerate)
            except RuntimeError:  # a codec that libsndfile does not support
                continue
        if len(lengths) == len(self._links):
            self.seconds = sum(lengths)

    def read(self, max_seconds: float) -> list[Sound]:
        sounds = []
        for link, content in zip(self._links, self._contents, strict=True):
            try:
                stream = open_bytes(content)
            except RuntimeError as error:
                if link.codec in ("Vorbis in Ogg", "Opus in Ogg"):
                    raise damaged(self.path, None) from error
                sounds += ffmpeg.decode_with_ffmpeg(
                    self.path, ffmpeg.Format(link.codec, "ogg"), max_seconds, bytes(content)
                )
                continue
            with stream:
                samples = read_stream(self.path, stream, max_seconds)
                if len(samples) < stream.frames < 2**60:
                    raise damaged(self.path, int(stream.frames))
                sounds.append(Sound(samples, int(stream.samplerate)))
        if self._is_cut:
            count = sum(len(each.samples) for each in sounds)
            raise AudioError(
                f"{self.path} is truncated: it holds {count} samples and ends within a page of Ogg; "
                "copy it again from its source"
            )
        if len(self._links) > 1:
            self.notes.append(f"it holds {len(self._links)} streams one after the other, which are read as one")
        return sounds


@lru_cache(maxsize=1)
def _table() -> list[int]:
    values = []
    for value in range(256):
        value <<= 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)) & 0xFFFFFFFF
        values.append(value)
    return values

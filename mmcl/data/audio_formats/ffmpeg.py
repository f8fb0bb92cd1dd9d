"""Decoding with the program ffmpeg, for formats that libsndfile does not support."""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmcl.data.audio_formats.sound import MOST_VALUES, Recording, Sound, check_header, check_length
from mmcl.errors import AudioError

_SECONDS = 120  # maximum duration of decoding


class Format(NamedTuple):
    """A file format: its name for messages, and ffmpeg's demuxer for it (empty if none)."""

    name: str
    demuxer: str


_MAGIC = (  # offset, bytes at that offset, format
    (4, b"ftyp", Format("MPEG-4 audio (M4A, MP4, 3GP)", "mov")),
    (4, b"moov", Format("QuickTime audio", "mov")),
    (4, b"mdat", Format("QuickTime audio", "mov")),
    (4, b"wide", Format("QuickTime audio", "mov")),
    (0, b"\x1a\x45\xdf\xa3", Format("WebM or Matroska audio", "matroska")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format("Windows Media audio (WMA)", "asf")),
    (0, b"#!AMR", Format("AMR", "amr")),
    (0, b"#!SILK", Format("SILK", "")),
    (0, b"wvpk", Format("WavPack", "wv")),
    (0, b"TTA1", Format("True Audio (TTA)", "tta")),
    (0, b"MAC ", Format("Monkey's Audio", "ape")),
    (0, b"MPCK", Format("Musepack", "mpc8")),
    (0, b"MP+", Format("Musepack", "mpc")),
    (0, b".RMF", Format("RealAudio", "rm")),
    (0, b".ra\xfd", Format("RealAudio", "rm")),
    (0, b"DSD ", Format("DSD", "dsf")),
    (0, b"\x0b\x77", Format("AC-3", "ac3")),
    (8, b"AVI ", Format("AVI video", "")),
    (0, b"FLV", Format("Flash video", "")),
    (0, b"\x7f\xfe\x80\x01", Format("DTS", "")),
    (0, b"\x00\x00\x01\xba", Format("an MPEG program stream", "")),
    (0, b"\x47\x40", Format("an MPEG transport stream", "")),
    (8, b"AIFC", Format("AIFF with a codec that libsndfile does not know", "aiff")),
    (0, b"caff", Format("CAF with a codec that libsndfile does not know", "caf")),
    (0, b".snd", Format("AU with a codec that libsndfile does not know", "au")),
)
_WAV_CODECS = {  # WAV format tags that libsndfile does not support
    0x0020: "Yamaha ADPCM",
    0x0042: "G.723.1",
    0x0045: "G.726",
    0x0050: "MPEG layer II",
    0x0083: "G.729",
    0x00FF: "AAC",
    0x0160: "WMA",
    0x0161: "WMA",
    0x0162: "WMA Pro",
    0x0163: "WMA Lossless",
    0x1610: "AAC",
    0x2000: "AC-3",
    0x2001: "DTS",
    0x674F: "Vorbis",
    0x6750: "Vorbis",
    0x6751: "Vorbis",
    0xF1AC: "FLAC",
}
_KNOWN_WAV_CODECS = (0, 1, 2, 3, 6, 7, 0x11, 0x31, 0x40, 0x55)


def recognised(path: Path, wav_codec: int | None = None) -> Format | None:
    """Return the format of a file by its first bytes, or None if it is unknown or does not need ffmpeg.

    Args:
        path: the file.
        wav_codec: format tag, if the file is WAV or a relative.
    """
    with path.open("rb") as file:
        head = file.read(32)
        if head[:3] == b"ID3" and len(head) >= 10:  # AAC may start with this tag
            file.seek(10 + sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(head[6:10])))
            head = file.read(32)
    if wav_codec is not None and wav_codec not in _KNOWN_WAV_CODECS:
        codec = _WAV_CODECS.get(wav_codec, f"number {wav_codec:#06x}")
        return Format(f"WAV with the codec {codec}", "w64" if head[:4] == b"riff" else "wav")
    if head[:1] == b"\xff" and len(head) > 1 and head[1] & 0xF6 == 0xF0:
        return Format("AAC", "aac")
    if head[:2] == b"\x0b\x77" and len(head) > 5 and head[5] >> 3 > 10:
        return Format("E-AC-3", "eac3")
    return next((each for at, magic, each in _MAGIC if head[at : at + len(magic)] == magic), None)


class ForeignRecording(Recording):
    """A file that only ffmpeg decodes; its length is known after decoding."""

    def __init__(self, path: Path, format: Format) -> None:
        super().__init__(path)
        self._format = format

    def read(self, max_seconds: float) -> list[Sound]:
        return decode_with_ffmpeg(self.path, self._format, max_seconds)


def decode_with_ffmpeg(path: Path, format: Format, max_seconds: float, content: bytes | None = None) -> list[Sound]:
    """Decode the first audio track of a file with ffmpeg; raises AudioError.

    The demuxer is fixed, not guessed, and ffmpeg may open this file only: formats that list other files or network
    addresses are excluded.

    Args:
        path: the file.
        format: its format.
        max_seconds: maximum length of the recording.
        content: part of the file to decode; None for the whole file.
    """
    program = shutil.which("ffmpeg")
    if not format.demuxer or program is None:
        remedy = "install ffmpeg, or convert it" if format.demuxer else "convert it"
        raise AudioError(f"{path} is {format.name}, which cannot be decoded here: {remedy} to WAV or FLAC")
    source = "pipe:0" if content is not None else f"file:{path.absolute()}"
    protocol = "file" if content is None else "pipe"
    command: list[str | bytes] = [
        *(program, "-nostdin", "-hide_banner", "-v", "error", "-xerror", "-threads", "1"),
        *("-protocol_whitelist", protocol, "-f", format.demuxer, "-i", os.fsencode(source)),
        *("-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au"),
        *("-t", f"{max_seconds + 1:f}", "-fs", str(4 * (MOST_VALUES + 1024)), "pipe:1"),
    ]
    try:
        done = subprocess.run(command, input=content or b"", capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise AudioError(f"{path} takes ffmpeg longer than {_SECONDS} s to decode: convert it to WAV or FLAC") from None
    except OSError as error:
        raise AudioError(f"{path} is {format.name}, but ffmpeg cannot be started ({error.strerror})") from error
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode or said or len(done.stdout) < 24:
        why = re.sub(" @ 0x[0-9a-f]+", "", said[0]).replace(source, "the file") if said else "without a reason"
        raise AudioError(
            f"{path} is {format.name}, which ffmpeg cannot decode to the end ({why[:200]}): it may be truncated or "
            "damaged, copy it again from its source; or convert it to WAV or FLAC"
        )
    start, rate, channels = struct.unpack_from(">4xI8xII", done.stdout)
    check_header(path, rate, channels)
    values = (len(done.stdout) - start) // 4 // channels * channels
    check_length(path, values // channels, rate, channels, max_seconds)
    samples = np.frombuffer(done.stdout, ">f4", values, start).astype(np.float32).reshape(-1, channels)
    return [Sound(samples, rate)]

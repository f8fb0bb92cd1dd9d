import os
import shutil
import stat
import struct

import numpy as np
import pytest

from mmcl.data.audio import audio_seconds, load_audio
from mmcl.data.audio_formats import ffmpeg as decoder
from mmcl.errors import AudioError

ENCODED = {  # file, options of ffmpeg, and whether it writes into a pipe
    "a.m4a": ["-c:a", "aac"],
    "first.m4a": ["-c:a", "aac", "-movflags", "+faststart"],
    "lossless.m4a": ["-c:a", "alac"],
    "a.mp4": ["-c:a", "aac"],
    "a.mov": ["-c:a", "pcm_s16le"],
    "a.aac": ["-c:a", "aac"],
    "a.webm": ["-c:a", "libopus"],
    "vorbis.webm": ["-c:a", "libvorbis"],
    "a.mka": ["-c:a", "flac"],
    "a.wma": ["-c:a", "wmav2"],
    "a.ac3": ["-c:a", "ac3"],
    "a.wv": ["-c:a", "wavpack"],
    "a.tta": ["-c:a", "tta"],
    "yamaha.wav": ["-c:a", "adpcm_yamaha"],
    "wma.wav": ["-c:a", "wmav2"],
    "layer2.wav": ["-c:a", "mp2"],
}
FIRST_BYTES = {
    "MPEG-4 audio": b"\0\0\0\x20ftypM4A ",
    "WebM or Matroska": b"\x1a\x45\xdf\xa3",
    "Windows Media audio": b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "AMR": b"#!AMR\n",
    "AAC": b"\xff\xf1\x50\x80",
    "AC-3": b"\x0b\x77\0\0\0\x40",
    "WavPack": b"wvpk",
    "Monkey's Audio": b"MAC ",
    "WAV with the codec WMA": b"RIFF\xff\xff\xff\xffWAVEfmt " + struct.pack("<IHHIIHH", 16, 0x161, 1, 16_000, 1, 1, 1),
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.slow
def test_formats_unknown_to_libsndfile(ffmpeg, speech, name):
    samples, rate = speech
    path = ffmpeg(name, *ENCODED[name])
    audio = load_audio(path)
    assert abs(len(audio) - len(samples)) < 3_000
    assert audio_seconds(path) == pytest.approx(len(audio) / rate, abs=1e-3)
    spectra = [np.abs(np.fft.rfft(each, 2**18))[:60_000] for each in (audio.numpy(), samples)]
    assert np.corrcoef(*spectra)[0, 1] > 0.9
    content = path.read_bytes()
    path.write_bytes(content[: int(0.6 * len(content)) + 7])
    with pytest.raises(AudioError, match=rf"{name} is .*(truncated|cannot decode to the end)"):
        load_audio(path)


def test_streamed_webm(ffmpeg, speech):
    for name, options in (
        ("a.webm", ["-c:a", "libopus", "-f", "webm"]),
        ("a.mp4", ["-c:a", "aac", "-f", "mp4", "-movflags", "frag_keyframe+empty_moov"]),
    ):
        assert abs(len(load_audio(ffmpeg(name, *options, piped=True))) - len(speech[0])) < 3_000


def test_amr(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    frames = b"".join(b"\x3c" + bytes([7 * number % 256] * 31) for number in range(50))  # 12.2 kbit/s, 20 ms each
    (tmp_path / "a.amr").write_bytes(b"#!AMR\n" + frames)
    assert len(load_audio(tmp_path / "a.amr")) == 16_000


@pytest.mark.parametrize("name", FIRST_BYTES)
def test_without_ffmpeg_the_format_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "speech.wav"
    path.write_bytes(FIRST_BYTES[name] + b"data" + struct.pack("<I", 400) + bytes(400))
    for read in (load_audio, audio_seconds):
        with pytest.raises(AudioError, match=rf"speech\.wav is {name}.*, which cannot be decoded here: install ffmpeg"):
            read(path)


def test_formats_that_nothing_decodes_are_named(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF\xff\0\0\0AVI LIST" + bytes(300))
    with pytest.raises(AudioError, match=r"a\.wav is AVI video, which cannot be decoded here: convert it to WAV"):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["-y.m4a", "a:b.m4a", "$(touch x).m4a", "http:x.m4a", "a b%d.m4a", "f\udce9.m4a"])
def test_file_names_are_not_options(ffmpeg, speech, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    ffmpeg("a.m4a").rename(tmp_path / name)
    before = sorted(os.listdir(tmp_path))
    assert len(load_audio(name)) >= len(speech[0])
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {secret}\n",
        "concat:{secret}",
        "v=0\nm=audio 9 RTP/AVP 0\nc=IN IP4 127.0.0.1\n",
        '<?xml version="1.0"?><MPD><Period><BaseURL>{secret}</BaseURL></Period></MPD>',
    ],
)
@pytest.mark.parametrize("suffix", ["m4a", "wav", "m3u8", "ogg"])
def test_lists_of_other_files_are_not_followed(write, tmp_path, content, suffix):
    secret = write("secret.wav")
    path = tmp_path / f"list.{suffix}"
    path.write_text(content.format(secret=secret))
    with pytest.raises(AudioError, match=rf"list\.{suffix} is not audio"):
        load_audio(path)


def test_bounds(ffmpeg):
    path = ffmpeg("a.m4a", "-c:a", "aac")
    assert len(load_audio(path, max_seconds=8)) > 100_000
    with pytest.raises(AudioError, match=r"a\.m4a lasts \d\.\d s or more, expected at most 2 s"):
        load_audio(path, max_seconds=2)


def stub(tmp_path, monkeypatch, script):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    path = tmp_path / "a.m4a"
    path.write_bytes(FIRST_BYTES["MPEG-4 audio"] + bytes(100))
    return path


def test_timeout_raises(tmp_path, monkeypatch):
    path = stub(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(decoder, "_SECONDS", 0.2)
    with pytest.raises(AudioError, match=r"a\.m4a takes ffmpeg longer than 0\.2 s to decode"):
        load_audio(path)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "without a reason"),
        ("echo '[mov @ 0x55d0] moov atom not found' >&2; exit 1", r"\[mov\] moov atom not found"),
        ("echo short", "without a reason"),
        (r"printf '.snd\000\000\000\030%8s\177\377\377\377\000\000\000\001'", "sample rate of 2147483647 Hz"),
    ],
)
def test_failing_ffmpeg_raises(tmp_path, monkeypatch, script, why):
    path = stub(tmp_path, monkeypatch, script)
    with pytest.raises(AudioError, match=rf"a\.m4a .*{why}"):
        load_audio(path)

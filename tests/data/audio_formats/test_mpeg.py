import re
import struct

import numpy as np
import pytest
import soundfile

from mmcl.data.audio import audio_seconds, examine, load_audio
from mmcl.data.audio_formats.mpeg import count_frames
from mmcl.errors import AudioError

VARIABLE = {"bitrate_mode": "VARIABLE", "compression_level": 0.4}
CONSTANT = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}


def without_header(path):
    """Remove the Xing header, which piped output lacks."""
    content = path.read_bytes()
    found = count_frames(content)
    assert found.promised
    path.write_bytes(content[found.start :])
    return path


def in_wav(path, rate):
    frames = path.read_bytes()
    fmt = struct.pack("<HHIIHHHHIHHH", 0x55, 1, rate, 8_000, 1, 0, 12, 1, 2, 576, 1, 0)
    body = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(frames)) + frames
    wav = path.with_suffix(".wav")
    wav.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return wav


def correlation(waveform, samples):
    """Return the correlation at the best encoder delay."""
    size = len(samples) - 4_000
    return max(np.corrcoef(waveform[delay : delay + size], samples[:size])[0, 1] for delay in range(900, 1_300))


@pytest.mark.parametrize("mode", [VARIABLE, CONSTANT], ids=["variable", "constant"])
@pytest.mark.parametrize("where", ["mp3", "wav"])
def test_without_a_header_all_frames_are_decoded(write, speech, mode, where):
    samples, rate = speech
    path = without_header(write("speech.mp3", **mode))
    if where == "wav":
        path = in_wav(path, rate)
    found = examine(path)
    assert len(samples) <= len(found.waveform) <= len(samples) + 2_400
    assert audio_seconds(path) == len(found.waveform) / rate
    assert correlation(found.waveform, samples) > 0.95


def test_encoder_delay_is_removed_with_a_header(write, speech):
    for mode in (VARIABLE, CONSTANT):
        path = write("speech.mp3", **mode)
        assert np.array_equal(examine(path).waveform, soundfile.read(path, dtype="float32")[0])
        assert len(load_audio(path)) == len(speech[0])
        assert audio_seconds(path) == len(speech[0]) / speech[1]
        assert examine(path).notes == ()


def test_a_length_that_decoders_guess_too_short_is_noted(tmp_path, speech):
    samples, rate = speech
    path = tmp_path / "speech.mp3"  # large first frames of noise make decoders underestimate the length
    noise = np.random.default_rng(0).normal(0, 0.3, rate)
    soundfile.write(path, np.concatenate([noise, samples]), rate, **VARIABLE)
    found = examine(without_header(path))
    assert len(found.waveform) >= rate + len(samples)
    assert re.fullmatch(r"its header says \d\.\d s, but it lasts 7\.\d s", found.notes[0])


def test_files_one_after_the_other_are_read_to_the_end(write, speech):
    path = write("speech.mp3", **CONSTANT)
    path.write_bytes(path.read_bytes() * 2)
    found = examine(path)
    assert 2 * len(speech[0]) <= len(found.waveform) < 2 * len(speech[0]) + 4_000
    assert audio_seconds(path) == len(found.waveform) / found.rate
    assert found.notes and "but it lasts" in found.notes[0]


@pytest.mark.parametrize(
    "tag", [b"TAG" + b" " * 125, b"APETAGEX" + bytes(60), bytes(200)], ids=["ID3v1", "APE", "zeros"]
)
def test_tags_around_the_frames_do_not_matter(write, tag):
    path = without_header(write("speech.mp3", **VARIABLE))
    plain = examine(path)
    tagged = path.with_name("tagged.mp3")
    tagged.write_bytes(b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256) + path.read_bytes() + tag)
    assert np.array_equal(examine(tagged).waveform, plain.waveform)


@pytest.mark.parametrize("has_header", [True, False])
def test_truncated_frame(write, has_header):
    path = write("speech.mp3", **VARIABLE)
    content = (path if has_header else without_header(path)).read_bytes()
    for kept in (len(content) // 2 + 7, len(content) - 1):
        path.write_bytes(content[:kept])
        assert count_frames(path.read_bytes()).is_cut
        with pytest.raises(AudioError, match=r"speech\.mp3 is truncated: it holds \d+ samples"):
            load_audio(path)


def test_truncated_mp3_in_wav(write, speech):
    path = in_wav(without_header(write("speech.mp3", **CONSTANT)), speech[1])
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(AudioError, match=r"speech\.wav is truncated"):
        load_audio(path)


def test_piped_output_of_ffmpeg(ffmpeg, speech):
    for options in (("-q:a", "4"), ("-b:a", "64k")):
        path = ffmpeg("piped.mp3", "-c:a", "libmp3lame", *options, "-f", "mp3", piped=True)
        assert len(speech[0]) <= len(load_audio(path)) <= len(speech[0]) + 2_400
    path = ffmpeg("layer2.mp2")
    assert len(speech[0]) <= len(load_audio(path)) <= len(speech[0]) + 2_400


def test_count_of_no_frames():
    assert count_frames(b"") is None
    assert count_frames(b"this is no sound\n" * 100) is None
    assert count_frames(b"\xff" * 1_000) is None

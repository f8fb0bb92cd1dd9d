import struct
from io import BytesIO

import numpy as np
import pytest
import soundfile

from mmcl.data.audio import audio_seconds, examine, load_audio
from mmcl.data.audio_formats.chunks import payload
from mmcl.errors import AudioError

FORMATS = ["WAV", "WAVEX", "AIFF", "AU", "CAF", "W64", "RF64", "NIST"]
UNKNOWN = {  # sizes left by writers that cannot seek: format, offset of the size relative to the samples, bytes
    "WAV": (-4, b"\xff\xff\xff\xff"),
    "WAV of 0": (-4, b"\0\0\0\0"),
    "WAVEX": (-4, b"\xff\xff\xff\xff"),
    "AIFF": (-12, b"\0\0\0\0"),
    "AU": (-16, b"\xff\xff\xff\xff"),
    "CAF": (-12, b"\xff" * 8),
    "W64": (-8, b"\xff" * 8),
}


def found_in(content):
    return payload(BytesIO(content), len(content))


@pytest.mark.parametrize("format", FORMATS)
def test_samples_are_found(write, speech, format):
    path = write("speech.wav", "PCM_16", format)
    content = path.read_bytes()
    found = found_in(content)
    assert found.size == 2 * len(speech[0])
    assert found.end == len(content)
    order = ">i2" if format in ("AIFF", "AU", "CAF") else "<i2"
    samples = np.frombuffer(content, order, len(speech[0]), found.start) / np.float32(32_768)
    assert np.array_equal(samples, examine(path).waveform)


@pytest.mark.parametrize("format", FORMATS)
def test_truncated_files_are_detected(write, format):
    path = write("speech.wav", "PCM_16", format)
    content = path.read_bytes()
    for kept in (len(content) // 2, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(AudioError, match=r"speech\.wav is truncated: it holds \d+ "):
            load_audio(path)


@pytest.mark.parametrize("format", UNKNOWN)
def test_unknown_sizes(write, speech, format):
    path = write("speech.wav", "PCM_16", format.split()[0])
    content = bytearray(path.read_bytes())
    offset, size = UNKNOWN[format]
    start = found_in(bytes(content)).start + offset
    if format in ("AU", "CAF"):
        start = 8 if format == "AU" else start
    content[start : start + len(size)] = size
    path.write_bytes(content)
    found = found_in(bytes(content))
    assert found.size is None
    assert np.array_equal(examine(path).waveform, speech[0])
    assert audio_seconds(path) == len(speech[0]) / speech[1]


def test_rf64_whose_table_was_never_written(write, speech):
    path = write("speech.wav", "PCM_16", "RF64")
    content = bytearray(path.read_bytes())
    table = content.find(b"ds64") + 8
    content[table : table + 24] = bytes(24)
    data = content.find(b"data") + 4
    content[data : data + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert np.array_equal(examine(path).waveform, speech[0])


@pytest.mark.parametrize(
    "subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610"]
)
@pytest.mark.parametrize("cut", [False, True])
def test_encodings_of_wav(write, speech, subtype, cut):
    path = write("speech.wav", subtype, rate=8_000)
    samples = speech[0]
    if cut:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(AudioError, match=r"speech\.wav is truncated"):
            load_audio(path)
        return
    waveform = examine(path).waveform
    assert len(samples) <= len(waveform) < len(samples) + 2_100, "some fill their last block"
    assert np.corrcoef(waveform[: len(samples)], samples)[0, 1] > 0.9
    assert audio_seconds(path) == len(waveform) / 8_000


def test_chunks_in_any_order(write, speech):
    path = write("speech.wav", "PCM_16")
    content = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    unpadded = b"note" + struct.pack("<I", 3) + b"abc"
    for each in (content[:12] + odd + content[12:36] + odd + content[36:] + odd, content + unpadded + odd):
        path.write_bytes(each)
        found = examine(path)
        assert np.array_equal(found.waveform, speech[0])
        assert found.warnings == ()


@pytest.mark.parametrize("format", ["WAV", "AIFF", "AU", "CAF"])
def test_data_after_the_samples(write, speech, format):
    path = write("speech.wav", "PCM_16", format)
    content = path.read_bytes()
    path.write_bytes(content + b"\xab" * 1_000)
    found = examine(path)
    assert np.array_equal(found.waveform, speech[0])
    assert len(found.warnings) == 1 and found.warnings[0].startswith("has 1000 bytes after the ")
    path.write_bytes(content * 2)
    with pytest.raises(AudioError, match=r"speech\.wav holds several files one after the other, expected one"):
        load_audio(path)


def test_content_without_samples():
    for content in (b"", b"RIFF", b"RIFF????WAVE", b"NIST_1A\n   abcd\n", b".snd", b"caff\0\1\0\0" + b"\xff" * 64):
        assert found_in(content) is None
    endless = b"RIFF????WAVE" + b"junk\0\0\0\0" * 200_000
    assert found_in(endless) is None, "given up after some chunks"


def test_intact_float_file_is_unchanged(tmp_path):
    samples = np.linspace(-1, 1, 20_001)
    soundfile.write(tmp_path / "ramp.wav", samples, 16_000, subtype="DOUBLE")
    assert np.array_equal(examine(tmp_path / "ramp.wav").waveform, samples.astype(np.float32))

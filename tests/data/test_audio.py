import struct

import numpy as np
import pytest
import soundfile
import torch

from mmcl.data.audio import audio_seconds, decode, load_audio
from mmcl.errors import AudioError, ConfigError, MissingDataError


def tone(seconds=1.0, rate=16_000, hertz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(), 16_000)
    return path


@pytest.fixture
def order(data_dir):
    """A real recording in FLAC."""
    return min((data_dir / "barista" / "speech").glob("*.flac"))


@pytest.fixture
def digit(data_dir):
    """A real recording in WAV at 8 kHz."""
    return data_dir / "fsdd" / "recordings" / "7_theo_3.wav"


def cut(path, copy, size):
    copy.write_bytes(path.read_bytes()[:size])
    return copy


def test_real_flac_is_decoded_as_it_is(order):
    samples, rate = soundfile.read(order, dtype="float32")
    audio = load_audio(order)
    assert rate == 16_000
    assert audio.dtype == torch.float32
    assert torch.equal(audio, torch.from_numpy(samples))
    assert audio_seconds(order) == len(samples) / 16_000


def test_real_wav_at_8_khz_is_resampled(digit):
    samples, rate = soundfile.read(digit, dtype="float32")
    audio = load_audio(digit)
    assert rate == 8_000
    assert audio.shape == (2 * len(samples),)
    assert load_audio(digit, sample_rate=8_000).shape == (len(samples),)
    # every second sample of a waveform at twice the rate is the waveform, but for what the filter takes off its band
    assert torch.corrcoef(torch.stack([audio[::2], torch.from_numpy(samples)]))[0, 1] > 0.99


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 44_101, 48_000])
def test_any_rate_gives_the_same_tone(tmp_path, rate):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate=rate), rate, subtype="FLOAT")
    audio = load_audio(path)
    assert abs(len(audio) - 16_000) <= 1
    expected = torch.from_numpy(tone()).float()
    assert (audio - expected[: len(audio)])[500:-500].abs().max() < 5e-3, "the ends ring"


def test_resampling_leaves_the_number_of_threads_alone(tmp_path):
    soundfile.write(tmp_path / "tone.wav", tone(rate=8_000), 8_000)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        load_audio(tmp_path / "tone.wav")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_channels_are_averaged(tmp_path):
    left, right = tone(), tone(hertz=300)
    soundfile.write(tmp_path / "stereo.wav", np.stack([left, right], 1), 16_000, subtype="FLOAT")
    audio = load_audio(tmp_path / "stereo.wav")
    assert audio.shape == (16_000,)
    assert torch.allclose(audio, torch.from_numpy((left + right) / 2).float(), atol=1e-6)


def test_silence_is_audio(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(800), 16_000)
    assert load_audio(tmp_path / "silence.wav").tolist() == [0.0] * 800


def test_missing(tmp_path):
    for read in (load_audio, audio_seconds):
        with pytest.raises(MissingDataError, match=r"there is no file .*nowhere\.wav: check the path"):
            read(tmp_path / "nowhere.wav")


def test_folder(tmp_path):
    with pytest.raises(AudioError, match="is not a file, expected audio"):
        load_audio(tmp_path)


def test_empty(tmp_path):
    (tmp_path / "empty.wav").touch()
    for read in (load_audio, audio_seconds):
        with pytest.raises(AudioError, match=r"empty\.wav is empty \(0 bytes\)"):
            read(tmp_path / "empty.wav")


def test_cut_flac(order, tmp_path):
    size = order.stat().st_size
    for kept in (1_000, size // 2, size - 1):
        with pytest.raises(AudioError, match=r"cut\.flac is truncated or damaged: its header promises \d{5,} samples"):
            load_audio(cut(order, tmp_path / "cut.flac", kept))


def test_cut_real_wav(digit, tmp_path):
    size = digit.stat().st_size
    for kept in (1_000, size // 2, size - 1):
        with pytest.raises(AudioError, match=r"cut\.wav is truncated: it holds \d+ samples, its header promises more"):
            load_audio(cut(digit, tmp_path / "cut.wav", kept))


def test_cut_mp3(order, tmp_path):
    samples, rate = soundfile.read(order)
    soundfile.write(tmp_path / "order.mp3", samples, rate)
    assert len(load_audio(tmp_path / "order.mp3")) == len(samples)
    with pytest.raises(AudioError, match=r"cut\.mp3 is truncated: it holds \d+ samples"):
        load_audio(cut(tmp_path / "order.mp3", tmp_path / "cut.mp3", 5_000))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_cut_wav_of_any_kind(tmp_path, subtype):
    soundfile.write(tmp_path / "tone.wav", tone(), 16_000, subtype=subtype)
    assert 16_000 <= len(load_audio(tmp_path / "tone.wav")) < 17_000, "ADPCM fills its last block"
    with pytest.raises(AudioError, match="is truncated"):
        load_audio(cut(tmp_path / "tone.wav", tmp_path / "cut.wav", 7_000))


def test_cut_header(wav, tmp_path):
    for kept in (4, 30):
        with pytest.raises(AudioError, match=rf"cut\.wav is not audio \(.*\): its {kept} bytes have no header"):
            load_audio(cut(wav, tmp_path / "cut.wav", kept))
    with pytest.raises(AudioError, match=r"has 0 samples"):
        load_audio(cut(wav, tmp_path / "cut.wav", 44))


def test_chunks_around_the_samples_do_not_matter(wav, tmp_path):
    data = wav.read_bytes()
    note = b"note" + struct.pack("<I", 3) + b"abc\0"  # of odd size, thus padded
    (tmp_path / "notes.wav").write_bytes(data[:36] + note + data[36:] + note)
    assert torch.equal(load_audio(tmp_path / "notes.wav"), load_audio(wav))
    with pytest.raises(AudioError, match="is truncated"):
        load_audio(cut(tmp_path / "notes.wav", tmp_path / "cut.wav", 20_000))


def test_wav_written_to_a_pipe_has_no_size_and_is_read(wav, tmp_path):
    data = bytearray(wav.read_bytes())
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "piped.wav").write_bytes(data)
    assert torch.equal(load_audio(tmp_path / "piped.wav"), load_audio(wav))


@pytest.mark.parametrize("name", ["words.wav", "words.flac", "words.raw", "words.txt"])
def test_not_audio(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\n" * 20)
    for read in (load_audio, audio_seconds):
        with pytest.raises(AudioError, match=r"is not audio \(.*\): its \d+ bytes have no header"):
            read(tmp_path / name)


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0), 16_000)
    with pytest.raises(AudioError, match=r"none\.wav has 0 samples at 16000 Hz, expected at least 1"):
        load_audio(tmp_path / "none.wav")


def test_rate_of_a_broken_header(tmp_path):
    soundfile.write(tmp_path / "slow.wav", tone(), 4)
    with pytest.raises(AudioError, match=r"has 16000 samples at 4 Hz, expected .* 1000 Hz or more"):
        load_audio(tmp_path / "slow.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = tone()
    samples[100] = value
    soundfile.write(tmp_path / "bad.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav has samples that are not finite"):
        load_audio(tmp_path / "bad.wav")


def test_flac_that_does_not_know_its_length(order, tmp_path):
    data = bytearray(order.read_bytes())
    data[21] &= 0xF0  # the number of samples is the last 36 bits of these five bytes
    data[22:26] = bytes(4)
    (tmp_path / "endless.flac").write_bytes(data)
    with pytest.raises(AudioError, match=r"endless\.flac is truncated or damaged"):
        load_audio(tmp_path / "endless.flac")


def test_sample_rate_too_low(wav):
    with pytest.raises(ConfigError, match="sample_rate is 0 Hz, expected 1000 or more"):
        load_audio(wav, sample_rate=0)


def test_decode_keeps_the_rate(digit):
    waveform, rate = decode(digit)
    assert rate == 8_000
    assert waveform.shape == (round(audio_seconds(digit) * 8_000),)

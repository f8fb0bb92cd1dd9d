import logging
import os
import random
import struct
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from peak_memory import PeakMemory

from mmcl.data.audio import audio_seconds, decode, examine, load_audio, load_speech
from mmcl.errors import AudioError, ConfigError, MissingDataError, MMCLError


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


def test_real_flac_is_decoded_exactly(order):
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
    # every second sample at twice the rate is the original, except near the cut-off of the filter
    assert torch.corrcoef(torch.stack([audio[::2], torch.from_numpy(samples)]))[0, 1] > 0.99


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 44_101, 48_000])
def test_any_rate_gives_the_same_tone(tmp_path, rate):
    path = tmp_path / "tone.wav"
    soundfile.write(path, tone(rate=rate), rate, subtype="FLOAT")
    audio = load_audio(path)
    assert abs(len(audio) - 16_000) <= 1
    expected = torch.from_numpy(tone()).float()
    assert (audio - expected[: len(audio)])[500:-500].abs().max() < 5e-3, "the ends ring"


def test_resampling_restores_the_number_of_threads(tmp_path):
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


def test_silence_is_accepted(tmp_path):
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


def test_truncated_flac(order, tmp_path):
    size = order.stat().st_size
    for kept in (1_000, size // 2, size - 1):
        with pytest.raises(AudioError, match=r"cut\.flac is truncated or damaged: its header promises \d{5,} samples"):
            load_audio(cut(order, tmp_path / "cut.flac", kept))


def test_truncated_real_wav(digit, tmp_path):
    size = digit.stat().st_size
    for kept in (1_000, size // 2, size - 1):
        with pytest.raises(AudioError, match=r"cut\.wav is truncated: it holds \d+ samples, its header promises more"):
            load_audio(cut(digit, tmp_path / "cut.wav", kept))


def test_truncated_mp3(order, tmp_path):
    samples, rate = soundfile.read(order)
    soundfile.write(tmp_path / "order.mp3", samples, rate)
    assert len(load_audio(tmp_path / "order.mp3")) == len(samples)
    with pytest.raises(AudioError, match=r"cut\.mp3 is truncated: it holds \d+ samples"):
        load_audio(cut(tmp_path / "order.mp3", tmp_path / "cut.mp3", 5_000))


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"])
def test_truncated_wav_of_any_subtype(tmp_path, subtype):
    soundfile.write(tmp_path / "tone.wav", tone(), 16_000, subtype=subtype)
    assert 16_000 <= len(load_audio(tmp_path / "tone.wav")) < 17_000, "ADPCM fills its last block"
    with pytest.raises(AudioError, match="is truncated"):
        load_audio(cut(tmp_path / "tone.wav", tmp_path / "cut.wav", 7_000))


def test_truncated_header(wav, tmp_path):
    for kept in (4, 30):
        with pytest.raises(AudioError, match=rf"cut\.wav is not audio \(.*\): its {kept} bytes have no header"):
            load_audio(cut(wav, tmp_path / "cut.wav", kept))
    with pytest.raises(AudioError, match=r"has 0 samples"):
        load_audio(cut(wav, tmp_path / "cut.wav", 44))


def test_chunks_around_the_samples_do_not_matter(wav, tmp_path):
    data = wav.read_bytes()
    note = b"note" + struct.pack("<I", 3) + b"abc\0"  # odd size, so it is padded
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
def test_non_finite_samples_raise(tmp_path, value):
    samples = tone()
    samples[100] = value
    soundfile.write(tmp_path / "bad.wav", samples, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"bad\.wav has samples that are not finite"):
        load_audio(tmp_path / "bad.wav")


def test_flac_of_unknown_length(order, tmp_path):
    data = bytearray(order.read_bytes())
    data[21] &= 0xF0  # the number of samples is the last 36 bits of these five bytes
    data[22:26] = bytes(4)
    (tmp_path / "endless.flac").write_bytes(data)
    assert torch.equal(load_audio(tmp_path / "endless.flac"), load_audio(order))
    assert audio_seconds(tmp_path / "endless.flac") == audio_seconds(order)


def test_sample_rate_too_low(wav):
    with pytest.raises(ConfigError, match="sample_rate is 0 Hz, expected 1000 or more"):
        load_audio(wav, sample_rate=0)


def test_sample_rate_too_high(wav):
    with pytest.raises(ConfigError, match="sample_rate is 384001 Hz, expected 384000 or less"):
        load_audio(wav, sample_rate=384_001)


@pytest.mark.parametrize("rate", [1_009, 96_001, 383_999])
def test_rates_without_a_common_divisor_need_little_memory(tmp_path, rate):
    soundfile.write(tmp_path / "odd.wav", tone(rate=rate, hertz=100), rate)
    memory = PeakMemory()
    assert abs(len(load_audio(tmp_path / "odd.wav")) - 16_000) <= 16
    assert memory.grown() < 400_000_000, "where a filter of all coefficients takes gigabytes"


def test_decode_keeps_the_rate(digit):
    waveform, rate = decode(digit)
    assert rate == 8_000
    assert waveform.shape == (round(audio_seconds(digit) * 8_000),)


@pytest.mark.parametrize("scale", [2**7, 2**15, 2**23, 2**31])
@pytest.mark.parametrize(
    ("format", "subtype"), [("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("CAF", "FLOAT"), ("AU", "DOUBLE")]
)
def test_integer_scale_raises(digit, tmp_path, scale, format, subtype):
    samples, rate = soundfile.read(digit)
    path = tmp_path / "loud.wav"
    whole = np.round(samples * scale)
    for kept in (whole, whole * 12.3):  # scaled again, they are no longer integers
        soundfile.write(path, kept, rate, subtype, format=format)
        with pytest.raises(
            AudioError,
            match=r"loud\.wav has \d+ of \d+ samples outside \[-1, 1\], up to .* divided by their full scale",
        ):
            load_audio(path)


def test_quiet_integer_scale_raises(tmp_path):
    soundfile.write(tmp_path / "quiet.wav", np.round(4 * tone()), 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"quiet\.wav has .* up to 2: .* such as 128"):
        load_audio(tmp_path / "quiet.wav")


@pytest.mark.parametrize("peak", [1.0, 1.2, 1.99, 4.0])
def test_floating_point_overs_are_kept(tmp_path, peak):
    samples = tone(amplitude=peak).astype(np.float32)
    soundfile.write(tmp_path / "hot.wav", samples, 16_000, subtype="FLOAT")
    found = examine(tmp_path / "hot.wav")
    assert np.array_equal(found.waveform, samples)
    assert found.warnings == ()
    assert found.notes == ((f"is loud: its loudest sample is {peak:.2g}, where 1 is full scale",) if peak > 2 else ())


def test_clipped_integers_are_in_scale(tmp_path):
    samples = np.sign(tone())
    soundfile.write(tmp_path / "square.wav", samples, 16_000, subtype="FLOAT")
    assert np.array_equal(examine(tmp_path / "square.wav").waveform, samples.astype(np.float32))


CANCELLED = {
    "inverted": ([1, -1], 0),
    "nearly inverted": ([0.9, -1], 1),
    "partly cancelled": ([1, -0.5], 0),
    "four channels": ([1, -1, 0.5, -0.5], 0),
}


@pytest.mark.parametrize("kind", CANCELLED)
@pytest.mark.parametrize("offset", [0, 0.1])
def test_channels_that_cancel_one_another(digit, tmp_path, caplog, kind, offset):
    gains, loudest = CANCELLED[kind]
    samples, rate = soundfile.read(digit, dtype="float32")
    channels = np.stack([np.float32(gain) * samples / 2 + np.float32(offset) for gain in gains], 1)
    path = tmp_path / "anti.wav"
    soundfile.write(path, channels, rate, subtype="FLOAT")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            waveform, _ = decode(path)
    assert np.array_equal(waveform, channels[:, loudest])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "once a file"
    assert "anti.wav has channels that cancel one another: their mean is " in said[0]
    assert f"channel {loudest + 1}, which is used alone" in said[0]


@pytest.mark.parametrize("gains", [[1, 1], [1, 0], [1, 0.3], [0, 1, 0, 0, 0, 0, 0, 0], [1, -0.25]])
def test_channels_that_do_not_cancel_are_averaged(digit, tmp_path, gains):
    samples, rate = soundfile.read(digit, dtype="float32")
    channels = np.stack([np.float32(gain) * samples for gain in gains], 1)
    soundfile.write(tmp_path / "stereo.wav", channels, rate, subtype="FLOAT")
    found = examine(tmp_path / "stereo.wav")
    assert np.array_equal(found.waveform, channels.mean(axis=1))
    assert found.warnings == ()


@pytest.mark.parametrize("noise", [0, 3e-5])
def test_silence_in_all_channels_is_accepted(tmp_path, noise):
    left = np.random.default_rng(0).normal(0, noise, 8_000) if noise else np.zeros(8_000)
    soundfile.write(tmp_path / "silence.wav", np.stack([left, -left], 1), 16_000, subtype="FLOAT")
    assert examine(tmp_path / "silence.wav").warnings == ()
    with pytest.raises(AudioError, match=r"silence\.wav is silent, its loudest sample is "):
        load_speech(tmp_path / "silence.wav")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_names_that_are_not_utf_8(tmp_path, suffix):
    soundfile.write(tmp_path / f"tone.{suffix}", tone(), 16_000)
    path = tmp_path / f"caf\udce9.{suffix}"
    try:
        os.rename(tmp_path / f"tone.{suffix}", path)
    except OSError:
        pytest.skip("this disk has no such names")
    assert len(load_audio(path)) == 16_000
    assert audio_seconds(path) == 1
    path.write_bytes(b"RIFF")
    with pytest.raises(AudioError, match=r"caf\\udce9\.\w+ is not audio") as told:
        load_audio(path)
    str(told.value).encode()


@pytest.mark.parametrize("is_counted", [True, False])
def test_small_files_that_decode_to_long_ones(tmp_path, is_counted):
    path = tmp_path / "zeros.flac"
    soundfile.write(path, np.zeros(1_000_000, np.int16), 1_000)
    data = bytearray(path.read_bytes())
    if not is_counted:
        data[21] &= 0xF0
        data[22:26] = bytes(4)
        path.write_bytes(data)
    assert len(data) < 10_000
    with pytest.raises(AudioError, match=r"zeros\.flac lasts \d+\.\d s or more, expected at most 999\.5 s"):
        load_audio(path, max_seconds=999.5)
    assert len(load_audio(path, 1_000, max_seconds=1_000)) == 1_000_000


def test_two_hours_are_the_default_maximum(tmp_path):
    path = tmp_path / "zeros.flac"
    soundfile.write(path, np.zeros(7_201_000, np.int16), 1_000)
    assert audio_seconds(path) == 7_201
    with pytest.raises(AudioError, match=r"lasts 7201\.0 s or more, expected at most 7200 s"):
        load_audio(path)


def test_out_of_memory_raises(wav, monkeypatch):
    from mmcl.data.audio_formats import sound

    def none_left(*_, **__):
        raise MemoryError

    monkeypatch.setattr(sound.soundfile.SoundFile, "read", none_left)
    with pytest.raises(AudioError, match=r"tone\.wav "):
        load_audio(wav)


def mutated(content, chance):
    """Damage content: change bytes anywhere or in the header, truncate, insert or zero bytes."""
    changed = bytearray(content)
    kind, at = chance.choice(["any", "head", "head", "cut", "more", "zero"]), chance.randrange(len(content))
    if kind == "any":
        for _ in range(chance.randrange(1, 20)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
    elif kind == "head":
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(120)] = chance.choice([0, 127, 128, 255, chance.randrange(256)])
    elif kind == "cut":
        del changed[at:]
    elif kind == "more":
        changed[at:at] = chance.randbytes(chance.randrange(1, 2_000))
    else:
        changed[at : at + 2_000] = bytes(len(changed[at : at + 2_000]))
    return bytes(changed)


def survives(order, folder, format, subtype, count):
    """Check that damaged recordings decode or raise an error that names the file; return the number decoded."""
    samples, rate = soundfile.read(order, frames=32_000)
    path = folder / f"mutated.{format.lower()}"
    soundfile.write(path, samples, rate, subtype, format=format)
    content, chance, decoded = path.read_bytes(), random.Random(f"{format} {subtype}"), 0
    for _ in range(count):
        path.write_bytes(mutated(content, chance))
        for read in (partial(load_audio, max_seconds=600), audio_seconds):
            try:
                found = read(path)
            except MMCLError as error:
                assert str(path) in str(error)
            else:
                decoded += read is not audio_seconds
                assert isinstance(found, float) or torch.isfinite(found).all()
    return decoded


FORMATS = {"WAV": "PCM_16", "FLAC": "PCM_16", "OGG": "VORBIS", "MP3": "MPEG_LAYER_III"}
MORE_FORMATS = [("WAV", "FLOAT"), ("WAV", "GSM610"), ("WAV", "IMA_ADPCM"), ("OGG", "OPUS"), ("AIFF", "PCM_24")]
MORE_FORMATS += [("AU", "ULAW"), ("CAF", "ALAC_16"), ("W64", "PCM_16"), ("RF64", "PCM_16"), ("NIST", "PCM_16")]


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_recordings(order, tmp_path, format):
    assert 0 < survives(order, tmp_path, format, FORMATS[format], 30) < 30


@pytest.mark.slow
@pytest.mark.parametrize(("format", "subtype"), [*FORMATS.items(), *MORE_FORMATS])
def test_many_damaged_recordings(order, tmp_path, format, subtype):
    assert 0 < survives(order, tmp_path, format, subtype, 300) < 300

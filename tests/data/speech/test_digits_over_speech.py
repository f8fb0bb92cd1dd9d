import json
import math

import numpy as np
import pytest
import soundfile
import torch

from mmcl.data import Barista, DigitsOverSpeech, Selection, SpokenDigits, open_dataset
from mmcl.data.attributes import attributes_of
from mmcl.data.audio import load_audio
from mmcl.data.speech.digits_over_speech import loudest_span
from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import ConfigError, DataError, MissingDataError


def write_tone(path, seconds, rate, level=0.1):
    """Write half silence, half a tone."""
    samples = np.arange(round(seconds * rate))
    soundfile.write(path, level * np.sin(samples) * (samples > len(samples) / 2), rate)


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Write 10 orders of each of two drinks, and 2 digits of 2 speakers in each split."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "barista/speech").mkdir(parents=True)
    (folder / "fsdd/recordings").mkdir(parents=True)
    labels = {}
    for row in range(20):
        labels[f"order{row}.wav"] = {"intent": "orderDrink", "slots": {"coffeeDrink": ("latte", "mocha")[row % 2]}}
        write_tone(folder / f"barista/speech/order{row}.wav", 0.6 + row / 100, 16_000)
    (folder / "barista/label.json").write_text(json.dumps(labels))
    for name in (f"{digit}_{who}_{index}" for digit in (3, 7) for who in ("jo", "al") for index in (0, 5, 10)):
        write_tone(folder / f"fsdd/recordings/{name}.wav", 0.1, 8_000, 0.02)
    return folder / "barista", folder / "fsdd"


def over_speech(roots, split="valid", **options):
    return DigitsOverSpeech(roots[0], split, fsdd_root=roots[1], **{"seconds": 0.25, **options})


def test_each_order_is_heard_with_and_without_digits(roots):
    data, orders = over_speech(roots, "train", targets=2), Barista(roots[0], "train")
    assert len(data) == 3 * len(orders) and data.labels == orders.labels * 3
    assert data.is_target == [False] * len(orders) + [True] * 2 * len(orders)
    assert data.classes == ("latte", "mocha") and data.texts == orders.texts * 3
    assert data.ids[: len(orders)] == [each.id for each in orders.utterances]
    assert [id.split("+")[0] for id in data.ids] == data.ids[: len(orders)] * 3
    assert {data[row]["audio"].shape for row in range(len(data))} == {(4000,)}
    digits = {each.id: each for each in SpokenDigits(roots[1], "train").utterances}
    for id, digit, speaker in zip(data.ids, data.digits, data.digit_speakers, strict=True):
        if digit >= 0:
            assert (digits[id.split("+")[1]].label, digits[id.split("+")[1]].speaker) == (digit, ("al", "jo")[speaker])
        else:
            assert speaker == -1 and "+" not in id


@pytest.mark.parametrize("snr", [-5.0, 0.0, 10.0])
def test_the_digit_has_the_requested_level_and_is_mixed_whole(roots, snr):
    data = over_speech(roots, snr=snr)
    half = len(data) // 2
    for row in range(half):
        order, mixed = data[row]["audio"], data[half + row]["audio"]
        digit = mixed - order
        places = digit.nonzero()[:, 0]
        assert places[-1] - places[0] < 1700  # 0.1 s and the tail of resampling
        power = digit.square().sum() / 1600
        assert 10 * math.log10(power / order.square().mean()) == pytest.approx(snr, abs=0.2)
        original = load_audio(next(roots[1].rglob(f"{data.ids[half + row].split('+')[1]}.wav")))
        scale = digit.abs().max() / original.abs().max()
        start = int(torch.nn.functional.conv1d(digit[None, None], original[None, None])[0, 0].argmax())
        assert torch.allclose(digit[start : start + len(original)], scale * original, atol=1e-5)


def test_a_loud_mixture_is_scaled_to_a_peak_of_1(roots):
    data = over_speech(roots, snr=30.0)
    assert data[len(data) - 1]["audio"].abs().max().item() == pytest.approx(1.0)


def test_a_seed_fixes_digits_and_places(roots):
    one, again, other = (over_speech(roots, "train", seed=seed) for seed in (0, 0, 1))
    assert one.ids == again.ids and all(torch.equal(one[row]["audio"], again[row]["audio"]) for row in range(len(one)))
    assert one.ids != other.ids and one.labels == other.labels


def test_all_digits_are_used_equally_often(roots):
    data = over_speech(roots, "train", targets=3)
    used = [id.split("+")[1] for id in data.ids if "+" in id]
    counts = [used.count(id) for id in set(used)]
    assert len(counts) == 4 and max(counts) - min(counts) <= 1


def test_longer_digits_and_shorter_orders_fit(roots):
    assert {over_speech(roots, seconds=0.05)[row]["audio"].shape for row in (0, -1)} == {(800,)}
    data = over_speech(roots, seconds=5.0)
    assert len(data[-1]["audio"]) == len(data[len(data) // 2 - 1]["audio"]) < 16_000


def test_the_loudest_span_has_the_most_energy():
    torch.manual_seed(0)
    waveform = torch.randn(50)
    energies = [waveform[start : start + 7].square().sum() for start in range(44)]
    assert torch.equal(loudest_span(waveform, 7), waveform[(best := int(torch.stack(energies).argmax())) : best + 7])
    assert torch.equal(loudest_span(waveform, 50), waveform) and torch.equal(loudest_span(waveform, 99), waveform)


def test_flags_and_factors_follow_selections_joined_splits_and_cached_features(roots, tmp_path):
    joined = over_speech(roots, "valid") + over_speech(roots, "test")
    rows = [0, len(joined) - 1]
    chosen = attributes_of(Selection(joined, rows))
    assert chosen.is_target == [False, True] and len(joined.ids) == len(joined) == len(joined.is_target)
    expected = {name: [values[row] for row in rows] for name, values in joined.factors.items()}
    assert chosen.factors == expected and list(expected) == ["coffeeDrink", "digit", "speaker"]
    cached = attributes_of(cached_features(joined, build_encoder("audio", "cnn"), tmp_path, progress=False))
    assert cached.is_target == joined.is_target and cached.factors == joined.factors
    with pytest.raises(DataError, match="-3 dB"):
        over_speech(roots) + over_speech(roots, snr=-3.0)


def test_invalid_folders_and_settings_raise(roots, tmp_path, monkeypatch):
    for name, value in (
        ("targets", 0),
        ("seconds", 0.0),
        ("seconds", math.nan),
        ("seconds", math.inf),
        ("snr", math.inf),
    ):
        with pytest.raises(ConfigError, match=f"{name}.* {value:g}"):
            over_speech(roots, **{name: value})
    with pytest.raises(DataError, match="tset"):
        over_speech(roots, "tset")
    with pytest.raises(DataError, match="cup"):
        over_speech(roots, slot="cup")
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MMCL_DATA", str(roots[0].parent))
    assert open_dataset("digits_over_speech", "valid", seconds=0.25).ids == over_speech(roots).ids
    monkeypatch.setenv("MMCL_DATA", str(tmp_path))
    with pytest.raises(MissingDataError, match="barista.*get it from Picovoice.*'barista'.*root"):
        open_dataset("digits_over_speech", "valid")
    (tmp_path / "barista").symlink_to(roots[0])
    with pytest.raises(MissingDataError, match="data set fsdd is missing.*fsdd.*get it from"):
        open_dataset("digits_over_speech", "valid")


def test_a_silent_recording_raises(roots, tmp_path):
    for kind in ("barista", "fsdd"):
        (tmp_path / kind).symlink_to(roots[0].parent / kind)
    (tmp_path / "fsdd").unlink()
    (tmp_path / "fsdd/recordings").mkdir(parents=True)
    write_tone(tmp_path / "fsdd/recordings/3_jo_5.wav", 0.1, 8_000, 0.0)
    data = over_speech((tmp_path / "barista", tmp_path / "fsdd"))
    with pytest.raises(DataError, match="3_jo_5.wav is silent"):
        data[-1]


def test_no_recording_of_the_real_copy_is_in_two_splits(data_dir):
    if not (data_dir / "barista").is_dir() or not (data_dir / "fsdd").is_dir():
        pytest.skip("MMCL_DATA has no barista or no fsdd")
    splits = [DigitsOverSpeech(data_dir / "barista", split, data_dir / "fsdd") for split in DigitsOverSpeech.splits]
    parts = [{part for id in data.ids for part in id.split("+")} for data in splits]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]
    assert [len(data) for data in splits] == [790, 198, 250]
    for data in splits:
        sample = data[len(data) - 1]
        assert len(data.classes) == 10 and len(set(data.digit_speakers)) == 7 and len(set(data.digits)) == 11
        assert sample["audio"].shape == (32_000,) and sample["audio"].abs().max() <= 1

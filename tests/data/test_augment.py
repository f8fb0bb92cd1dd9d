from copy import deepcopy

import pytest
import torch

from mmcl.batch import collate
from mmcl.data.audio import load_audio
from mmcl.data.augment import WaveformAugment
from mmcl.errors import ConfigError, ShapeError


@pytest.fixture(scope="module")
def speech(data_dir):
    """Four real digits of different length."""
    paths = sorted((data_dir / "fsdd" / "recordings").glob("*_theo_0.wav"))[:4]
    batch = collate([{"audio": load_audio(path)} for path in paths])
    assert len(set(batch["audio_lengths"].tolist())) == 4
    return batch["audio"], batch["audio_lengths"]


def outside(audio, lengths):
    return audio[torch.arange(audio.shape[1])[None, :] >= lengths[:, None]]


def test_evaluation_changes_nothing(speech):
    audio, lengths = WaveformAugment().eval()(*speech)
    assert audio is speech[0] and lengths is speech[1]


@pytest.mark.parametrize("speed", [0.9, 0.95, 1.1, 2.0])
def test_speed_changes_every_row_as_if_it_were_alone(speech, speed):
    augment = WaveformAugment(speeds=(speed,), snr_db=None)
    audio, lengths = augment(*speech)
    assert audio.shape[1] == lengths.max()
    for row in range(4):
        alone, length = augment(speech[0][row : row + 1, : speech[1][row]], speech[1][row : row + 1])
        assert length == lengths[row] == alone.shape[1]
        assert abs(length - speech[1][row] / speed) < 1
        assert torch.allclose(audio[row, :length], alone[0], atol=1e-6)
    assert outside(audio, lengths).abs().max() == 0


def test_speed_changes_the_pitch():
    tone = torch.sin(torch.arange(16_000) * 2 * torch.pi * 500 / 16_000)[None]
    audio, lengths = WaveformAugment(speeds=(1.25,), snr_db=None)(tone, torch.tensor([16_000]))
    assert lengths.tolist() == [12_800]
    peak = torch.fft.rfft(audio[0]).abs().argmax() * 16_000 / 12_800
    assert peak == 625


def test_every_speed_is_drawn():
    augment = WaveformAugment(speeds=(0.5, 1.0, 2.0), snr_db=None)
    torch.manual_seed(0)
    drawn = {augment(torch.ones(1, 100), torch.tensor([100]))[1].item() for _ in range(50)}
    assert drawn == {200, 100, 50}


@pytest.mark.parametrize("snr", [0.0, 20.0])
def test_noise_has_the_ratio_asked_for_in_short_rows_too(speech, snr):
    audio, lengths = WaveformAugment(speeds=(), snr_db=(snr, snr))(*speech)
    assert torch.equal(lengths, speech[1])
    noise = audio - speech[0]
    measured = 10 * torch.log10(speech[0].square().sum(1) / noise.square().sum(1))
    assert torch.allclose(measured, torch.full((4,), snr), atol=0.01)
    assert outside(audio, lengths).abs().max() == 0


def test_noise_is_drawn_for_each_row_within_the_bounds():
    tone = torch.sin(torch.arange(4_000) * 0.3).repeat(200, 1)
    torch.manual_seed(0)
    noise = WaveformAugment(speeds=(), snr_db=(5, 15))(tone, torch.full((200,), 4_000))[0] - tone
    ratio = 10 * torch.log10(tone.square().sum(1) / noise.square().sum(1))
    assert 5 - 0.01 <= ratio.min() < 6 and 14 < ratio.max() <= 15 + 0.01
    assert abs(torch.corrcoef(noise[:2])[0, 1]) < 0.1


def test_the_seed_decides(speech):
    augment = WaveformAugment()
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(augment(*speech)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_silence_stays_silent():
    audio, _ = WaveformAugment()(torch.zeros(2, 1_000), torch.tensor([1_000, 500]))
    assert audio.abs().max() == 0, "no noise is a given ratio below nothing, and none is NaN"


def test_input_is_not_changed(speech):
    before = deepcopy(speech)
    WaveformAugment(speeds=(1.0,))(*speech)
    assert torch.equal(speech[0], before[0]) and torch.equal(speech[1], before[1])


def test_it_holds_no_weights():
    assert deepcopy(WaveformAugment()).state_dict() == {}


@pytest.mark.parametrize("speed", [0.925, 0, -1.0, 100.0])
def test_bad_speed(speed):
    with pytest.raises(ConfigError, match=rf"speed is {speed}, expected a factor in whole per cent from 0\.1 to 10"):
        WaveformAugment(speeds=(1.0, speed))


@pytest.mark.parametrize("snr_db", [(30, 10), (10,)])
def test_bad_ratio(snr_db):
    with pytest.raises(ConfigError, match=r"snr_db is .*, expected \(lowest, highest\) in decibels or None"):
        WaveformAugment(snr_db=snr_db)


def test_bad_shapes():
    with pytest.raises(ShapeError, match=r"audio is \(2, 100\) with lengths \(3,\), expected \(batch, samples\)"):
        WaveformAugment()(torch.ones(2, 100), torch.tensor([100, 100, 100]))

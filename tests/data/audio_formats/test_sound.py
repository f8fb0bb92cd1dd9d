from pathlib import Path

import pytest

from mmcl.data.audio_formats.sound import MOST_VALUES, check_header, check_length
from mmcl.errors import AudioError

PATH = Path("a.wav")


@pytest.mark.parametrize("rate", [0, 999, 384_001, 2_147_483_647])
def test_invalid_rates_raise(rate):
    with pytest.raises(AudioError, match=rf"a\.wav has a sample rate of {rate} Hz, expected 1000 Hz or more"):
        check_header(PATH, rate, 1)


@pytest.mark.parametrize("channels", [0, 65, 65_535])
def test_invalid_channels_raise(channels):
    with pytest.raises(AudioError, match=rf"a\.wav has {channels} channels, expected 1 to 64"):
        check_header(PATH, 16_000, channels)


def test_bounds_are_inclusive():
    for rate in (1_000, 384_000):
        for channels in (1, 64):
            check_header(PATH, rate, channels)
    check_length(PATH, 16_000, 16_000, 1, 1.0)
    check_length(PATH, MOST_VALUES // 64, 384_000, 64, 7_200)


def test_lengths():
    with pytest.raises(AudioError, match=r"a\.wav lasts 1\.0 s or more, expected at most 1 s"):
        check_length(PATH, 16_001, 16_000, 1, 1.0)
    with pytest.raises(
        AudioError, match=r"a\.wav has 8388609 samples or more in 64 channels, expected at most 8388608"
    ):
        check_length(PATH, MOST_VALUES // 64 + 1, 384_000, 64, 7_200)

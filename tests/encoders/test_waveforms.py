import pytest
import torch

from mmcl.encoders.waveforms import checked_lengths, normalize_waveforms
from mmcl.errors import ShapeError


def test_lengths_default_to_the_whole_batch():
    assert checked_lengths(torch.zeros(2, 500), None).tolist() == [500, 500]


@pytest.mark.parametrize(
    ("waveforms", "lengths", "message"),
    [
        (
            torch.zeros(500),
            None,
            r"audio is torch.float32 of shape \(500,\), expected float \(batch, samples\): mix down",
        ),
        (torch.zeros(2, 2, 500), None, r"shape \(2, 2, 500\), expected float \(batch, samples\)"),
        (torch.zeros(2, 500, dtype=torch.int16), None, "audio is torch.int16"),
        (torch.zeros(2, 500), [500], r"audio lengths have shape \(1,\), expected \(2,\)"),
        (torch.zeros(2, 500), [500, 501], "an audio length is 501, expected at most the 500 samples of the batch"),
        (torch.zeros(2, 500), [500, 399], r"utterance 1 of the batch has 399 samples, expected at least 400 \(25 ms\)"),
        (torch.zeros(2, 500), [500, 0], "utterance 1 of the batch has 0 samples"),
        (
            torch.zeros(2, 32000),
            [31999, 32000],
            "utterance 1 of the batch lasts 2.00 s, the encoder takes at most 1.5 s",
        ),
    ],
)
def test_what_does_not_fit_is_named(waveforms, lengths, message):
    with pytest.raises(ShapeError, match=message):
        checked_lengths(waveforms, None if lengths is None else torch.tensor(lengths), max_seconds=1.5)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 1e-5])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_waveform_that_does_not_vary_becomes_zero(value, epsilon):
    scaled = normalize_waveforms(torch.full((1, 512), value), torch.tensor([512]), epsilon)
    assert torch.equal(scaled, torch.zeros(1, 512))

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
            r"float32.*\(500,\)",
        ),
        (torch.zeros(2, 2, 500), None, r"\(2, 2, 500\)"),
        (torch.zeros(2, 500, dtype=torch.int16), None, "int16"),
        (torch.zeros(2, 500), [500], r"\(1,\).*\(2,\)"),
        (torch.zeros(2, 500), [500, 501], "501.* 500"),
        (torch.zeros(2, 500), [500, 399], "utterance 1 .*399 samples.* 400"),
        (torch.zeros(2, 500), [500, 0], "utterance 1 .* 0 samples"),
        (
            torch.zeros(2, 32000),
            [31999, 32000],
            "utterance 1 .*2.00 s.*1.5 s",
        ),
    ],
)
def test_invalid_batches_raise(waveforms, lengths, message):
    with pytest.raises(ShapeError, match=message):
        checked_lengths(waveforms, None if lengths is None else torch.tensor(lengths), max_seconds=1.5)


@pytest.mark.parametrize("epsilon", [0.0, 1e-7, 1e-5])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_waveform_becomes_zero(value, epsilon):
    scaled = normalize_waveforms(torch.full((1, 512), value), torch.tensor([512]), epsilon)
    assert torch.equal(scaled, torch.zeros(1, 512))

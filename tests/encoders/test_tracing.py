import pytest
import torch
from torch import nn

from mmcl.encoders.tracing import is_unpadded, masked_channel_norm, max_length, power_spectrum


class Cut(nn.Module):
    """Slice a batch to its longest row, and zero its padding."""

    def forward(self, batch, lengths):
        mask = torch.arange(batch.shape[1]) < lengths[:, None]
        cut = batch[:, : max_length(lengths, batch.shape[1])]
        return cut if is_unpadded(mask) else cut * mask[:, : cut.shape[1]]


def test_an_exported_graph_is_correct_for_other_batches():
    batch, lengths = torch.randn(2, 6), torch.tensor([6, 4])
    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(Cut(), (batch, lengths), dynamic_shapes=(sizes, {0: sizes[0]})).module()
    for rows, longest_row in ((3, 9), (2, 6)):
        batch, lengths = torch.randn(rows, longest_row + 2), torch.arange(longest_row, longest_row - rows, -1)
        expected = Cut()(batch, lengths)
        given = exported(batch, lengths)
        assert expected.shape == (rows, longest_row) and given.shape == batch.shape
        assert torch.equal(given[:, :longest_row], expected) and not given[:, longest_row:].any()


@pytest.mark.parametrize("size", [400, 401, 8])
def test_the_power_spectrum_equals_the_fourier_transform(size):
    torch.manual_seed(0)
    signal, window = torch.randn(2, 1500, dtype=torch.float64), torch.hann_window(size, dtype=torch.float64)
    expected = torch.stft(signal, size, 160, window=window, center=False, return_complex=True).abs().square()
    found = power_spectrum(signal, window, 160)
    assert found.shape == expected.shape and torch.allclose(found, expected, atol=1e-9)


def test_the_log_power_spectrum_of_speech_is_accurate(digits):
    window = torch.hann_window(400)
    for audio in digits:
        exact = torch.stft(audio.double(), 400, 160, window=window.double(), center=False, return_complex=True)
        found = power_spectrum(audio[None], window, 160)[0].double()
        assert ((found + 1e-6).log() - (exact.abs().square() + 1e-6).log()).abs().max() < 1e-3


def test_masked_channel_norm_equals_the_norm_without_padding():
    torch.manual_seed(0)
    norm = nn.GroupNorm(4, 4).double()
    norm.weight.data, norm.bias.data = torch.randn(4).double(), torch.randn(4).double()
    hidden, lengths = torch.randn(3, 4, 9, dtype=torch.float64), torch.tensor([9, 5, 2])
    found = masked_channel_norm(norm, hidden, lengths)
    for row, length in enumerate(lengths):
        assert torch.allclose(found[row, :, :length], norm(hidden[row : row + 1, :, :length])[0])

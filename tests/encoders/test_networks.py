from copy import deepcopy

import pytest
import torch
from torch import nn

from mmcl.encoders.log_mel import LogMel
from mmcl.encoders.networks import ConformerNetwork, Convolution, ConvolutionNetwork, Subsampling


def networks():
    torch.manual_seed(0)
    return [
        ConvolutionNetwork(64, 32, 4, 0.1).eval(),
        ConformerNetwork(64, 32, 2, 4, 15, 0.1).eval(),
    ]


@pytest.fixture(params=[0, 1], ids=["convolution", "conformer"])
def network(request):
    return networks()[request.param]


def test_a_padded_batch_equals_its_utterances(network, digits, batch):
    frames, lengths = LogMel()(batch["audio"], batch["audio_lengths"])
    sequence, steps = network(frames, lengths)
    for row, audio in enumerate(digits):
        alone, length = network(*LogMel()(audio[None]))
        assert steps[row] == length[0] == alone.shape[1] == -(-lengths[row] // 4)
        assert (sequence[row, : steps[row]] - alone[0]).abs().max() < 1e-4


def test_more_padding_changes_nothing(network, batch):
    frames, lengths = LogMel()(batch["audio"], batch["audio_lengths"])
    sequence, steps = network(frames, lengths)
    more, same_steps = network(nn.functional.pad(frames, (0, 0, 0, 37), value=3.0), lengths)
    assert torch.equal(steps, same_steps)
    for row, length in enumerate(steps):
        assert (more[row, :length] - sequence[row, :length]).abs().max() < 1e-5


def test_utterances_are_independent_in_training_mode(network, batch):
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
    network.train()
    frames, lengths = LogMel()(batch["audio"], batch["audio_lengths"])
    sequence, steps = network(frames, lengths)
    alone, _ = network(frames[1:2, : lengths[1]], lengths[1:2])
    assert (sequence[1, : steps[1]] - alone[0]).abs().max() < 1e-4


def test_the_encoding_depends_on_unpadded_steps_only(network, batch):
    frames, lengths = LogMel()(batch["audio"], batch["audio_lengths"])
    frames.requires_grad_()
    sequence, steps = network(frames, lengths)
    shortest = int(steps.argmin())
    sequence[shortest, : steps[shortest]].square().sum().backward()
    moved = frames.grad.abs().sum(-1) > 0
    assert moved[shortest, : lengths[shortest]].all()
    assert moved.sum() == lengths[shortest]


def test_convolution_equals_conv1d():
    torch.manual_seed(0)
    layer = Convolution(6, 8, kernel=5, stride=2, dilation=2).double()
    reference = nn.Conv1d(6, 8, 5, stride=2, dilation=2, padding=4).double()
    reference.weight.data = layer.linear.weight.data.view(8, 5, 6).transpose(1, 2)
    reference.bias.data = layer.linear.bias.data
    for time in (1, 2, 7, 12):
        sequence = torch.randn(3, time, 6, dtype=torch.float64)
        expected = layer.norm(reference(sequence.transpose(1, 2)).transpose(1, 2)).relu()
        given, steps = layer(sequence, torch.full((3,), time))
        assert given.shape[1] == steps[0] == -(-time // 2)
        assert torch.allclose(given, expected, atol=1e-12)


def test_subsampling_keeps_one_frame():
    sequence, steps = Subsampling(64, 16)(torch.randn(1, 1, 64), torch.tensor([1]))
    assert sequence.shape == (1, 1, 16) and steps.tolist() == [1]


def test_a_copy_has_its_own_mask(digits):
    network = networks()[1]
    frames, lengths = LogMel()(digits[0][None])
    copy = deepcopy(network)
    copy(frames[:, :9], torch.tensor([9]))
    expected = network(frames, lengths)[0]
    copy(frames[:, :9], torch.tensor([9]))
    assert torch.equal(network(frames, lengths)[0], expected)


def test_no_statistics_of_batches_are_stored(network):
    assert not [name for name, _ in network.named_buffers()]

import pytest
import torch
from torch import nn

from mmcl.encoders.base import pool, subsample, weights_hash
from mmcl.errors import ConfigError


def test_pool_on_a_small_example():
    sequence = torch.tensor([[[1.0, -4.0], [3.0, -2.0], [100.0, 100.0]], [[5.0, 5.0], [7.0, 9.0], [0.0, 1.0]]])
    lengths = torch.tensor([2, 3])
    assert pool(sequence, lengths, "mean").tolist() == [[2.0, -3.0], [4.0, 5.0]]
    assert pool(sequence, lengths, "max").tolist() == [[3.0, -2.0], [7.0, 9.0]]
    assert pool(sequence, lengths, "mean_max").tolist() == [[2.0, -3.0, 3.0, -2.0], [4.0, 5.0, 7.0, 9.0]]


def test_unknown_pooling_raises():
    with pytest.raises(ConfigError, match="'median'.*mean, max, mean_max"):
        pool(torch.zeros(1, 1, 1), torch.tensor([1]), "median")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 20])
def test_subsampling_averages_unpadded_steps(size):
    lengths = torch.tensor([1, 3, 7, 8, 11])
    sequence = torch.randn(5, 13, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps, counts = subsample(sequence, lengths, size)
    for row, length in enumerate(lengths.tolist()):
        expected = [sequence[row, start : min(start + size, length)].mean(0) for start in range(0, length, size)]
        assert counts[row] == len(expected)
        assert torch.allclose(steps[row, : len(expected)], torch.stack(expected))
        assert size == 1 or not steps[row, len(expected) :].any()


def test_weights_hash_depends_on_values_buffers_names_and_shapes():
    layer = nn.Linear(2, 3)
    assert weights_hash(layer) == weights_hash(nn.Sequential(layer)[0])
    same = nn.Linear(2, 3)
    same.load_state_dict(layer.state_dict())
    assert weights_hash(same) == weights_hash(layer)
    same.weight.data[0, 0] += 1e-6
    assert weights_hash(same) != weights_hash(layer)
    norm = nn.BatchNorm1d(2)
    before = weights_hash(norm)
    norm.running_mean += 1
    assert weights_hash(norm) != before
    flat, square = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(2, 2))
    assert weights_hash(nn.ParameterDict({"a": flat})) != weights_hash(nn.ParameterDict({"a": square}))
    assert weights_hash(nn.ParameterDict({"a": flat})) != weights_hash(nn.ParameterDict({"b": flat}))

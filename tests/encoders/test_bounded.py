"""Networks that are far larger than their weights are refused before they are built."""

import time

import pytest
import torch
from torch import nn

from mmcl.encoders.bounded import Sizes, bounded
from mmcl.errors import CheckpointError, DataError

SMALL = Sizes(4, 100)


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Linear(2**20, 2**20),
        lambda: nn.Embedding(2**33, 8),
        lambda: nn.Conv1d(2**12, 2**12, 2**12),
        lambda: nn.Sequential(*(nn.Linear(2, 2) for _ in range(2**33))),
        lambda: [torch.zeros(2**24) for _ in range(100)],
        lambda: torch.arange(2**33),
        lambda: torch.arange(0, 2**33, 2),
        lambda: torch.full((2**33,), 1.0),
        lambda: torch.zeros(1).new_zeros(2**33),
        lambda: torch.linspace(0, 1, 2**33),
        lambda: torch.empty(2**33, device="meta"),
    ],
)
def test_large_networks_are_refused_quickly(build):
    started = time.monotonic()
    message = "config.json .* [0-9,]+ (numbers|tensors)"
    with pytest.raises(DataError, match=message), bounded(SMALL, "config.json"):
        build()
    assert time.monotonic() - started < 15


def test_the_type_of_the_error_can_be_chosen():
    with pytest.raises(CheckpointError), bounded(SMALL, "x", error=CheckpointError):
        torch.zeros(2**30)


def test_networks_within_the_limit_are_unchanged():
    torch.manual_seed(0)
    expected = nn.TransformerEncoderLayer(16, 2)
    torch.manual_seed(0)
    with bounded(Sizes.of(expected.parameters()), "x"):
        given = nn.TransformerEncoderLayer(16, 2)
    for name, value in expected.state_dict().items():
        assert torch.equal(given.state_dict()[name], value)
    torch.zeros(2**26)  # no limit outside the context

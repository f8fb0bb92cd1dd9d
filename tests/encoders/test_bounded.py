"""A network that asks for far more than its weights have is refused before it is built."""

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
def test_it_is_refused_at_once(build):
    started = time.monotonic()
    message = "config.json asks for [0-9,]+ (numbers|tensors) or more, and its weights have"
    with pytest.raises(DataError, match=message), bounded(SMALL, "config.json"):
        build()
    assert time.monotonic() - started < 15


def test_the_error_is_of_the_type_that_is_asked_for():
    with pytest.raises(CheckpointError), bounded(SMALL, "x", error=CheckpointError):
        torch.zeros(2**30)


def test_what_fits_is_built_as_without():
    torch.manual_seed(0)
    expected = nn.TransformerEncoderLayer(16, 2)
    torch.manual_seed(0)
    with bounded(Sizes.of(expected.parameters()), "x"):
        given = nn.TransformerEncoderLayer(16, 2)
    for name, value in expected.state_dict().items():
        assert torch.equal(given.state_dict()[name], value)
    torch.zeros(2**26)  # no bounds after it

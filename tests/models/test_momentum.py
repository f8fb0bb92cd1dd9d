"""Tests of the momentum encoder."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmcl.errors import ConfigError, ShapeError
from mmcl.models import MomentumEncoder


def encoder():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def test_the_average_follows_the_encoder():
    online = encoder().double()
    average = MomentumEncoder(online, momentum=0.9)
    expected = [each.clone() for each in online.parameters()]
    for _ in range(5):
        with torch.no_grad():
            for each in online.parameters():
                each.add_(torch.randn_like(each))
        average.update(online)
        expected = [0.9 * one + 0.1 * other for one, other in zip(expected, online.parameters(), strict=True)]
    for one, other in zip(average.average.parameters(), expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-12)


def test_it_has_no_gradient_and_does_not_change_the_encoder():
    online = encoder()
    average = MomentumEncoder(online)
    before = online.state_dict()["1.running_mean"].clone()
    assert not average(torch.randn(4, 3)).requires_grad and not any(p.requires_grad for p in average.parameters())
    assert all(each.requires_grad for each in online.parameters())
    assert torch.equal(online.state_dict()["1.running_mean"], before)
    assert not torch.equal(average.average[1].running_mean, before)  # statistics of its own


def test_without_momentum_it_is_the_encoder():
    online = encoder().eval()
    average = MomentumEncoder(encoder().eval(), momentum=0.0)
    average.update(online)
    rows = torch.randn(4, 3)
    assert torch.equal(average(rows), online(rows))


def test_it_is_resumed_to_the_last_digit():
    online = encoder()
    one, other = MomentumEncoder(online), MomentumEncoder(encoder())
    one(torch.randn(4, 3))
    other.load_state_dict(one.state_dict())
    for each in (one, other):
        each.update(online)
    rows = torch.randn(4, 3)
    assert torch.equal(one(rows), other(rows))


def test_another_encoder_is_an_error():
    with pytest.raises(ShapeError, match=r"0\.bias"):
        MomentumEncoder(encoder()).update(nn.Sequential(nn.Linear(3, 5)))


@pytest.mark.parametrize("momentum", [1.0, -0.1, True, float("nan")])
def test_an_invalid_momentum_is_an_error(momentum):
    with pytest.raises(ConfigError, match="momentum is"):
        MomentumEncoder(encoder(), momentum)

"""Tests of the simple and the hard simple contrastive loss against a loop and the limit of InfoNCE."""

from __future__ import annotations

import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import InputError
from mmcl.objectives import SimpleContrastiveLoss


def slow(a, b, temperature, share, weight):
    a, b, losses = normalize(a, dim=1).tolist(), normalize(b, dim=1).tolist(), []
    for i, row in enumerate(a):
        similarities = [sum(x * y for x, y in zip(row, key, strict=True)) / temperature for key in b]
        negatives = sorted((value for j, value in enumerate(similarities) if j != i), reverse=True)
        kept = negatives[: max(1, math.ceil(share * len(negatives)))]
        losses.append(weight * sum(kept) / len(kept) - similarities[i])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_equals_the_slow_loop(share, block_size):
    batch = draw([8])
    a, b = batch["a"].detach(), batch["b"].detach()
    loss = SimpleContrastiveLoss(0.3, share, 0.7, block_size=block_size)(a, b)
    assert loss.item() == pytest.approx(slow(a, b, 0.3, share, 0.7), rel=1e-10)


def test_it_is_the_limit_of_info_nce_at_large_temperatures():
    batch, t = draw([6]), 1e5
    cosines = normalize(batch["a"], dim=1) @ normalize(batch["b"], dim=1).T
    limit = t * 6 / 5 * (cross_entropy(cosines / t, torch.arange(6)) - math.log(6))
    loss = SimpleContrastiveLoss()(batch["a"], batch["b"])
    assert loss.item() == pytest.approx(limit.item(), abs=1e-4)
    one, other = (torch.autograd.grad(each, batch["a"])[0] for each in (loss, limit))
    assert torch.allclose(one, other, atol=1e-4)


def test_of_one_hardest_negative_it_is_the_limit_of_info_nce_at_small_temperatures():
    batch, t = draw([6]), 1e-4
    cosines = normalize(batch["a"], dim=1) @ normalize(batch["b"], dim=1).T
    losses = t * cross_entropy(cosines / t, torch.arange(6), reduction="none")
    hardest = cosines.masked_fill(torch.eye(6, dtype=torch.bool), -2).amax(1)
    assert torch.allclose(losses, (hardest - cosines.diagonal()).clamp(min=0), atol=1e-3)
    loss = SimpleContrastiveLoss(share=1e-9)(batch["a"], batch["b"])
    assert loss.item() == pytest.approx((hardest - cosines.diagonal()).mean().item(), rel=1e-10)


def test_a_single_sample_has_no_negatives():
    a = torch.randn(1, 4, dtype=torch.float64)
    for share in (0.5, 1.0):
        assert SimpleContrastiveLoss(share=share)(a, 2 * a).item() == pytest.approx(-1, rel=1e-10)


@pytest.mark.parametrize("share", [0.0, 1.5, "all"])
def test_an_invalid_share_is_an_error(share):
    with pytest.raises(InputError, match="share is"):
        SimpleContrastiveLoss(share=share)


def test_an_invalid_weight_is_an_error():
    with pytest.raises(InputError, match="weight is -1"):
        SimpleContrastiveLoss(weight=-1)

import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import cross_entropy, normalize, softplus

from mmcl.errors import InputError
from mmcl.objectives import HardContrastiveLoss


def slow(a, b, temperature, share):
    a, b, losses = normalize(a, dim=1), normalize(b, dim=1), []
    for i in range(len(a)):
        s = [float(a[i] @ b[j]) for j in range(len(b))]
        negatives = sorted((value for j, value in enumerate(s) if j != i), reverse=True)
        kept = negatives[: max(1, math.ceil(share * len(negatives)))]
        below = sum(math.exp(value / temperature) for value in [s[i], *kept])
        losses.append(math.log(below) - s[i] / temperature)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 1.0])
def test_equals_the_slow_loop(share, block_size):
    batch = draw([8])
    a, b = batch["a"].detach(), batch["b"].detach()
    loss = HardContrastiveLoss(0.3, share, block_size=block_size)(a, b)
    assert loss.item() == pytest.approx(slow(a, b, 0.3, share), rel=1e-12)


def test_with_all_negatives_it_equals_one_direction_of_clip():
    batch = draw([6])
    logits = normalize(batch["a"], dim=1) @ normalize(batch["b"], dim=1).T / 0.2
    expected = cross_entropy(logits, torch.arange(6))
    assert HardContrastiveLoss(0.2, 1.0)(batch["a"], batch["b"]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_with_one_negative_it_equals_the_softplus_of_the_hardest():
    batch = draw([6])
    similarities = normalize(batch["a"], dim=1) @ normalize(batch["b"], dim=1).T
    hardest = similarities.masked_fill(torch.eye(6, dtype=torch.bool), -2).amax(1)
    expected = softplus((hardest - similarities.diagonal()) / 0.2).mean()
    assert HardContrastiveLoss(0.2, 1e-9)(batch["a"], batch["b"]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_equally_hard_negatives_are_all_kept():
    a, b = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    loss = HardContrastiveLoss(1.0, share=0.01)(a, b)  # the first row's two negatives are equally hard
    expected = (math.log(1 + 2 / math.e) + 2 * math.log(1 + math.e)) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_an_invalid_share_is_an_error():
    for share in (0.0, 1.5, -1.0):
        with pytest.raises(InputError, match="share is"):
            HardContrastiveLoss(share=share)


@pytest.mark.parametrize("block_size", [1, 2, 3, 5])
def test_negatives_that_differ_by_rounding_are_equally_hard(block_size):
    generator = torch.Generator().manual_seed(0)
    signs = torch.randn(9, 1, generator=generator)  # in one dimension all cosines are 1 or -1
    a, b = signs.float(), signs.roll(1, 0).float() * 1.7
    exact = HardContrastiveLoss(share=0.4)(signs.sign(), signs.roll(1, 0).sign())
    assert HardContrastiveLoss(share=0.4, block_size=block_size)(a, b).item() == pytest.approx(exact.item(), rel=1e-5)

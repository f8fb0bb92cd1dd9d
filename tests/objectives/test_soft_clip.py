import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import normalize

from mmcl.objectives import CLIPLoss, SoftClipLoss


def slow(a, b, temperature):
    a, b, count = normalize(a, dim=1), normalize(b, dim=1), len(a)
    total = 0.0
    for i in range(count):
        own = [math.exp(float(b[i] @ b[j]) / temperature) for j in range(count)]
        for one, other in ((a, b), (b, a)):
            s = [float(one[i] @ other[j]) / temperature for j in range(count)]
            below = math.log(sum(math.exp(value) for value in s))
            total -= sum(q / sum(own) * (s[j] - below) for j, q in enumerate(own))
    return total / count / 2


@pytest.mark.parametrize("block_size", [None, 2])
def test_equals_the_slow_double_loop(block_size):
    batch = draw([7])
    a, b = batch["a"].detach(), batch["b"].detach()
    assert SoftClipLoss(0.3, block_size=block_size)(a, b).item() == pytest.approx(slow(a, b, 0.3), rel=1e-12)


def test_with_sharp_targets_it_equals_the_clip_loss():
    batch = draw([6])
    a, b = (
        batch["a"].detach(),
        torch.eye(6, dtype=torch.float64),
    )  # cosines of 0 and 1 at temperature 0.01 are e^100 apart in the softmax
    assert SoftClipLoss(0.01)(a, b).item() == pytest.approx(CLIPLoss(0.01)(a, b).item(), rel=1e-12)


def test_the_targets_get_gradients():
    batch = draw([5])
    (gradient,) = torch.autograd.grad(SoftClipLoss(0.3)(batch["a"], batch["b"]), batch["b"])
    fixed = torch.autograd.functional.jacobian(lambda b: SoftClipLoss(0.3)(batch["a"].detach(), b), batch["b"].detach())
    assert torch.allclose(gradient, fixed)


def test_stored_and_implicit_targets_give_the_same_loss(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(40, 6, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2))
    found = []
    for most in (40, 39):  # the second is one below the batch size
        monkeypatch.setattr("mmcl.objectives.soft_clip.tile_size", lambda device, block_size, most=most: most)
        value = SoftClipLoss()(a, b)
        found.append([value, *torch.autograd.grad(value, (a, b))])
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, atol=1e-12)

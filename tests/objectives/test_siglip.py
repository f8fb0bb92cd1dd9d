import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from mmcl.errors import InputError
from mmcl.objectives import SigLIPLoss


def slow(a, b, temperature, bias):
    a, b = normalize(a, dim=1), normalize(b, dim=1)
    total = 0.0
    for i in range(len(a)):
        for j in range(len(b)):
            logit = (1 if i == j else -1) * (float(a[i] @ b[j]) / temperature + bias)
            total += math.log(1 + math.exp(-logit))
    return total / len(a)


@pytest.mark.parametrize("bias", [-10.0, 0.0, 3.0])
def test_equals_the_slow_double_loop(bias):
    batch = draw([7])
    a, b = batch["a"].detach(), batch["b"].detach()
    assert SigLIPLoss(0.2, bias)(a, b).item() == pytest.approx(slow(a, b, 0.2, bias), rel=1e-12)


def test_is_a_sum_of_binary_cross_entropies():
    batch = draw([6])
    logits = normalize(batch["a"], dim=1) @ normalize(batch["b"], dim=1).T / 0.1 - 10
    expected = binary_cross_entropy_with_logits(logits, torch.eye(6, dtype=logits.dtype), reduction="sum") / 6
    assert SigLIPLoss()(batch["a"], batch["b"]).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("block_size", [None, 2])
def test_the_bias_can_be_learned(block_size):
    batch, bias = draw([5]), torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    loss = SigLIPLoss(0.2, bias, block_size=block_size)
    assert torch.autograd.gradcheck(lambda b: SigLIPLoss(0.2, b, block_size=block_size)(batch["a"], batch["b"]), bias)
    loss(batch["a"].detach(), batch["b"].detach()).backward()
    assert bias.grad.item() != 0


def test_a_low_temperature_does_not_overflow():
    a = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    for block_size in (None, 1):
        loss = SigLIPLoss(0.001, 0.0, block_size=block_size)(a, -a.detach())  # every pair is classified wrongly
        (gradient,) = torch.autograd.grad(loss, a)
        assert loss.item() == pytest.approx(2000.0) and bool(gradient.isfinite().all())


def test_an_invalid_bias_is_an_error():
    a = torch.eye(2)
    for bias in (float("nan"), torch.zeros(1), torch.tensor(-torch.inf)):
        with pytest.raises(InputError, match="bias is"):
            SigLIPLoss(bias=bias)(a, a)

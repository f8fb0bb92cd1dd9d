import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import normalize

from mmcl.objectives import NTXentLoss, SupConLoss


def slow(view1, view2, temperature):
    z = normalize(torch.cat([view1, view2]), dim=1)
    losses = []
    for i in range(len(z)):
        s = [float(z[i] @ z[k]) / temperature for k in range(len(z))]
        below = sum(math.exp(s[k]) for k in range(len(z)) if k != i)
        losses.append(math.log(below) - s[(i + len(view1)) % len(z)])
    return sum(losses) / len(losses)


def test_equals_the_slow_double_loop():
    batch = draw([6])
    a, b = batch["a"].detach(), batch["b"].detach()
    assert NTXentLoss(0.3)(a, b).item() == pytest.approx(slow(a, b, 0.3), rel=1e-12)


def test_equals_sup_con_with_a_unique_label_per_sample():
    batch = draw([6])
    expected = SupConLoss(0.2)(torch.cat([batch["a"], batch["b"]]), torch.arange(6).repeat(2))
    assert NTXentLoss(0.2)(batch["a"], batch["b"]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_single_sample_has_loss_0():
    view = torch.randn(1, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = NTXentLoss()(view, 2 * view.detach())
    assert loss.item() == pytest.approx(0.0, abs=1e-6)

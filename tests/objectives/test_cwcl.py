import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import normalize

from mmcl.objectives import CLIPLoss, CWCLLoss


def slow(trained, frozen, temperature):
    p, q = normalize(trained, dim=1), normalize(frozen, dim=1)
    count, total = len(p), 0.0
    for i in range(count):
        weights = [float(q[i] @ q[j]) / 2 + 0.5 for j in range(count)]
        below = math.log(sum(math.exp(float(p[i] @ q[k]) / temperature) for k in range(count)))
        terms = [w * (float(p[i] @ q[j]) / temperature - below) for j, w in enumerate(weights)]
        total -= sum(terms) / sum(weights)
        below = math.log(sum(math.exp(float(q[i] @ p[k]) / temperature) for k in range(count)))
        total -= float(q[i] @ p[i]) / temperature - below
    return total / count


@pytest.mark.parametrize("block_size", [None, 2])
def test_equals_the_slow_double_loop(block_size):
    batch = draw([7])
    trained, frozen = batch["a"].detach(), batch["b"].detach()
    loss = CWCLLoss(0.2, block_size=block_size)(trained, frozen)
    assert loss.item() == pytest.approx(slow(trained, frozen, 0.2), rel=1e-12)


def test_the_weights_come_from_the_frozen_side_and_apply_to_the_trained_side():
    batch = draw([7])
    assert CWCLLoss()(batch["a"], batch["b"]).item() != pytest.approx(CWCLLoss()(batch["b"], batch["a"]).item())


def test_with_opposite_frozen_samples_it_is_twice_the_clip_loss():
    # A cosine of -1 is a weight of 0, so that only the pair itself counts. This is possible for two samples.
    trained, frozen = draw([2])["a"].detach(), torch.tensor([[1.0, 2.0, 0, 0, 0, 0], [-1.0, -2.0, 0, 0, 0, 0]]).double()
    assert CWCLLoss()(trained, frozen).item() == pytest.approx(2 * CLIPLoss()(trained, frozen).item(), rel=1e-12)


def test_the_weights_get_no_gradient():
    batch = draw([5])
    trained, frozen = batch["a"].detach(), batch["b"]
    (gradient,) = torch.autograd.grad(CWCLLoss(0.5)(trained, frozen), frozen)
    step, direction = 1e-6, torch.zeros_like(frozen)
    direction[2, 1] = step
    with torch.no_grad():
        slope = (CWCLLoss(0.5)(trained, frozen + direction) - CWCLLoss(0.5)(trained, frozen - direction)) / (2 * step)
    assert gradient[2, 1].item() != pytest.approx(
        slope.item(), rel=1e-3
    )  # the slope includes the gradient of the weights

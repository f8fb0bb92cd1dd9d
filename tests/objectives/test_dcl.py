import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import normalize

from mmcl.errors import InputError
from mmcl.objectives import DCLLoss, NTXentLoss


def slow(view1, view2, temperature, sigma):
    z, count = normalize(torch.cat([view1, view2]), dim=1), len(view1)
    pulls = [math.exp(float(z[i] @ z[i + count]) / sigma) if sigma else 1.0 for i in range(count)]
    losses = []
    for i in range(2 * count):
        weight = 2 - pulls[i % count] / (sum(pulls) / count)
        below = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(2 * count) if (k - i) % count)
        losses.append(math.log(below) - weight * float(z[i] @ z[(i + count) % (2 * count)]) / temperature)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("sigma", [None, 0.5])
def test_equals_the_slow_double_loop(sigma, block_size):
    batch = draw([6])
    a, b = batch["a"].detach(), batch["b"].detach()
    loss = DCLLoss(0.3, sigma, block_size=block_size)(a, b)
    assert loss.item() == pytest.approx(slow(a, b, 0.3, sigma), rel=1e-12)


def test_with_the_positive_in_the_denominator_it_equals_nt_xent():
    batch = draw([2])  # one sample per side: DCL's value gives log(sum of negatives)
    a, b = normalize(batch["a"], dim=1), normalize(batch["b"], dim=1)
    total, z = 0.0, torch.cat([a, b])
    for i in range(4):
        positive = z[i] @ z[(i + 2) % 4] / 0.2
        below = sum((z[i] @ z[k] / 0.2).exp() for k in range(4) if k not in (i, (i + 2) % 4))
        total += (torch.log(below + positive.exp()) - torch.log(below)).item() / 4
    assert NTXentLoss(0.2)(a, b).item() == pytest.approx(DCLLoss(0.2)(a, b).item() + total, rel=1e-12)


def test_a_large_sigma_gives_weights_of_1():
    batch = draw([6])
    plain, weighted = DCLLoss(0.2)(batch["a"], batch["b"]), DCLLoss(0.2, sigma=1e9)(batch["a"], batch["b"])
    assert weighted.item() == pytest.approx(plain.item(), rel=1e-7)


def test_negative_weights_count():
    a = torch.eye(4, dtype=torch.float64)
    b = -a.clone()
    b[0] = a[0]  # the only close pair of four: its weight, 2 - 4 x softmax, is negative
    assert slow(a, b, 0.5, 0.1) == pytest.approx(DCLLoss(0.5, 0.1)(a, b).item(), rel=1e-12)


def test_the_weights_get_no_gradient():
    batch = draw([5])
    a, b = batch["a"].detach().requires_grad_(), batch["b"].detach()
    loss = DCLLoss(0.3, 0.5)
    weights = loss._weights(a.detach(), b, 0.5)
    fixed = DCLLoss(0.3)(a, b) - 2 * 5 * ((weights - 1) * (normalize(a, dim=1) * normalize(b, dim=1)).sum(1)).sum() / (
        0.3 * 10 * 5
    )
    one, other = torch.autograd.grad(loss(a, b), a)[0], torch.autograd.grad(fixed, a)[0]
    assert torch.allclose(one, other, atol=1e-12)


def test_a_single_sample_counts_zero():
    a = torch.ones(1, 3, requires_grad=True)
    loss = DCLLoss()(a, torch.ones(1, 3))
    assert loss.item() == 0 and not torch.autograd.grad(loss, a)[0].any()


def test_an_invalid_sigma_is_an_error():
    with pytest.raises(InputError, match="sigma is 0"):
        DCLLoss(sigma=0)

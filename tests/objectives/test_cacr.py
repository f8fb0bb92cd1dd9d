"""Tests of CACR against a loop, against expected similarities, and with a queue."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import CACRLoss


def draw(count=3, batch=5, dim=4, seed=0):
    return torch.randn(count, batch, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cost(one, other):
    return sum((x - y) ** 2 for x, y in zip(one, other, strict=True))


def expected(costs, scale):
    weights = [math.exp(scale * each) for each in costs]
    return sum(weight * each for weight, each in zip(weights, costs, strict=True)) / sum(weights)


def slow(views, temperature, scale, alpha, beta, debias):
    z = normalize(views, dim=2).tolist()
    count, batch, attraction, repulsion = len(z), len(z[0]), 0.0, []
    for v in range(count):
        for i in range(batch):
            others = [cost(z[v][i], z[u][i]) for u in range(count) if u != v]
            attraction += expected(others, scale) / count / batch
    for v in range(count):
        for u in range(v + 1, count):
            for i in range(batch):
                away = -expected([cost(z[v][i], z[u][j]) for j in range(batch) if j != i], -1 / temperature)
                repulsion.append((away - debias * cost(z[v][i], z[u][i])) / (1 - debias))
    return alpha * attraction + beta * sum(repulsion) / len(repulsion)


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("settings", [(1.0, 1.0, 1.0, 0.0), (2.0, 0.5, 3.0, 0.1), (0.0, 1.0, 1.0, 0.0)])
def test_equals_the_slow_loop(count, block_size, settings):
    views = draw(count)
    loss = CACRLoss(0.4, *settings, block_size=block_size)(views)
    assert loss.item() == pytest.approx(slow(views, 0.4, *settings), rel=1e-10)


def test_with_two_views_attraction_is_the_mean_squared_distance():
    views = draw(2)
    a, b = normalize(views, dim=2)
    assert CACRLoss(beta=0.0)(views).item() == pytest.approx((a - b).square().sum(1).mean().item(), rel=1e-10)


def test_repulsion_is_the_derivative_of_info_nce_without_its_positive():
    """d/ds log sum_{j != i} exp(s c_ij) is the expected cost, which ties repulsion to DCL's denominator."""
    views, scale = draw(2), torch.tensor(-2.0, dtype=torch.float64, requires_grad=True)
    a, b = normalize(views, dim=2)
    costs = (2 - 2 * a @ b.T).fill_diagonal_(0)
    hidden = torch.eye(5, dtype=torch.bool)
    sums = (scale * costs).masked_fill(hidden, -torch.inf).logsumexp(1)
    (derivative,) = torch.autograd.grad(sums.mean(), scale)
    assert CACRLoss(0.5, alpha=0.0)(views).item() == pytest.approx(-derivative.item(), rel=1e-10)


def slow_with_queue(views, keys, queue, temperature):
    """Value and gradient of the queue form, with constant weights as documented."""
    z, k = normalize(views, dim=2), normalize(keys, dim=2)
    count, batch, total = len(z), len(z[0]), 0.0
    for v in range(count):
        for i in range(batch):
            others = torch.stack([(z[v, i] - k[u, i]).square().sum() for u in range(count) if u != v])
            total = total + (others.detach().softmax(0) * others).sum()
            inside = [(z[v, i] - z[v, j]).square().sum() for j in range(batch) if j != i]
            outside = [(z[v, i] - row).square().sum() for row in queue]
            costs = torch.stack(inside + outside)
            scores = torch.stack(inside + [each.detach() for each in outside])
            total = total - ((-scores / temperature).softmax(0) * costs).sum()
    return total / count / batch


@pytest.mark.parametrize("block_size", [None, 2])
def test_the_queue_form_equals_the_slow_loop(block_size):
    objective = CACRLoss(0.4, queue=12, block_size=block_size).double()
    first, views, keys = draw(seed=1), draw(seed=2).requires_grad_(), draw(seed=3)
    objective(first, keys)
    assert int(objective.queue.count) == 5
    loss = objective(views, keys)
    expected = slow_with_queue(views, keys, normalize(keys[-1], dim=1), 0.4)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    one, other = (torch.autograd.grad(each, views)[0] for each in (loss, expected))
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_an_empty_queue_leaves_the_negatives_of_the_batch():
    objective, views = CACRLoss(0.4, queue=12).double(), draw()
    expected = slow_with_queue(views, views, [], 0.4)
    assert objective(views).item() == pytest.approx(expected.item(), rel=1e-10)


def test_a_resumed_queue_gives_the_same_losses():
    one, other = (CACRLoss(queue=12) for _ in range(2))
    for seed in range(3):
        one(draw(seed=seed).float())
    other.load_state_dict(one.state_dict())
    for seed in range(3, 6):
        assert one(draw(seed=seed).float()).item() == other(draw(seed=seed).float()).item()


def test_gradients_equal_finite_differences():
    assert torch.autograd.gradcheck(CACRLoss(0.4), draw(3, 4).requires_grad_())


def test_bad_input():
    with pytest.raises(ShapeError, match="2 or more views"):
        CACRLoss()(draw(1))
    with pytest.raises(ShapeError, match="queue of 3"):
        CACRLoss(queue=3)(draw())
    used = CACRLoss(queue=30)
    used(draw(dim=7))
    with pytest.raises(ShapeError, match="queue of dim 7"):
        used(draw())
    for settings in ({"debias": 1.0}, {"alpha": -1}, {"attraction_scale": float("nan")}, {"queue": 2.5}):
        with pytest.raises(InputError, match=next(iter(settings))):
            CACRLoss(**settings)
    assert CACRLoss()(draw(2, 1)).isfinite()  # a single sample has no negatives

"""Tests of MV-InfoNCE against a loop and NT-Xent."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ShapeError
from mmcl.objectives import MVInfoNCELoss, NTXentLoss


def slow(views, temperature, same_view):
    units = normalize(views, dim=2).tolist()
    count, batch, total = len(units), len(units[0]), 0.0

    def weight(one, other):
        return math.exp(sum(x * y for x, y in zip(one, other, strict=True)) / temperature)

    for i in range(batch):
        above = sum(weight(units[a][i], units[b][i]) for a in range(count) for b in range(count) if a != b)
        below = sum(
            weight(units[a][i], units[b][j])
            for a in range(count)
            for b in range(count)
            for j in range(batch)
            if (a, i) != (b, j) and (same_view or a != b)
        )
        total -= math.log(above / below)
    return total / batch


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("same_view", [True, False])
def test_equals_the_slow_loop(count, block_size, same_view):
    views = torch.randn(count, 7, 5, dtype=torch.float64)
    loss = MVInfoNCELoss(0.3, same_view, block_size=block_size)(views)
    assert loss.item() == pytest.approx(slow(views, 0.3, same_view), rel=1e-10)


def test_of_two_equal_views_it_is_nt_xent():
    view = torch.randn(6, 4, dtype=torch.float64)
    loss = MVInfoNCELoss(0.5)(torch.stack([view, view]))
    assert loss.item() == pytest.approx(NTXentLoss(0.5)(view, view).item(), rel=1e-10)


def test_gradients_equal_finite_differences():
    views = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    for same_view in (True, False):
        assert torch.autograd.gradcheck(MVInfoNCELoss(0.4, same_view), views)


def test_one_view_is_an_error():
    with pytest.raises(ShapeError, match="2 or more views"):
        MVInfoNCELoss()(torch.randn(1, 4, 3))

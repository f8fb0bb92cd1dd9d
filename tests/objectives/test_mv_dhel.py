"""Tests of MV-DHEL against a loop and a known loss."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ShapeError
from mmcl.objectives import MVDHELLoss


def slow(views, temperature):
    units = normalize(views, dim=2).tolist()
    count, batch = len(units), len(units[0])

    def weight(one, other):
        return math.exp(sum(x * y for x, y in zip(one, other, strict=True)) / temperature)

    total = 0.0
    for i in range(batch):
        total -= math.log(sum(weight(units[a][i], units[b][i]) for a in range(count) for b in range(a + 1, count)))
        total += sum(
            math.log(sum(weight(units[a][i], units[a][j]) for j in range(batch) if j != i)) for a in range(count)
        )
    return total / batch


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("block_size", [None, 2])
def test_equals_the_formula(count, block_size):
    views = torch.randn(count, 7, 5, dtype=torch.float64)
    assert MVDHELLoss(0.3, block_size=block_size)(views).item() == pytest.approx(slow(views, 0.3), rel=1e-10)


def test_two_equal_views_have_two_equal_denominators():
    """With equal views the alignment is 1 / temperature, and both denominators are equal."""
    view = torch.randn(6, 4, dtype=torch.float64)
    cosines = normalize(view, dim=1) @ normalize(view, dim=1).T / 0.5
    spread = cosines.fill_diagonal_(-torch.inf).logsumexp(1).mean()
    assert MVDHELLoss(0.5)(torch.stack([view, view])).item() == pytest.approx((2 * spread - 2).item(), rel=1e-10)


def test_one_view_is_an_error_and_a_single_sample_counts_0():
    with pytest.raises(ShapeError, match="2 or more views"):
        MVDHELLoss()(torch.randn(1, 4, 3))
    views = torch.randn(3, 1, 4, requires_grad=True)
    MVDHELLoss()(views).backward()
    assert not views.grad.any()

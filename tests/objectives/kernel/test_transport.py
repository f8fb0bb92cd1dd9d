"""Tests of optimal transport: marginals, a slow Sinkhorn loop, balance and batches."""

from __future__ import annotations

import math

import pytest
import torch
from waits import no_waits

from mmcl.objectives.kernel.transport import transport_plan


def draw(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def slow_plan(cost, epsilon, iterations):
    """Scale rows and columns of exp(-cost / epsilon) in turn, as Sinkhorn and Knopp."""
    kernel = [[math.exp(-float(value) / epsilon) for value in row] for row in cost]
    rows, columns = len(kernel), len(kernel[0])
    for _ in range(iterations):
        for row in kernel:
            total = sum(row)
            row[:] = [value / total / rows for value in row]
        for j in range(columns):
            total = sum(row[j] for row in kernel)
            for row in kernel:
                row[j] = row[j] / total / columns
    return torch.tensor(kernel, dtype=torch.float64)


@pytest.mark.parametrize("iterations", [1, 3, 30])
def test_the_plan_equals_the_slow_loop(iterations):
    found = transport_plan(draw(4, 7), epsilon=0.2, iterations=iterations)
    assert torch.allclose(found, slow_plan(draw(4, 7), 0.2, iterations), rtol=1e-10)


@pytest.mark.parametrize("epsilon", [0.05, 1.0])
def test_rows_and_columns_have_equal_mass(epsilon):
    plan = transport_plan(draw(5, 12), epsilon=epsilon, tolerance=1e-12)
    assert torch.allclose(plan.sum(1), torch.full((5,), 1 / 5, dtype=torch.float64), rtol=1e-8)
    assert torch.allclose(plan.sum(0), torch.full((12,), 1 / 12, dtype=torch.float64), rtol=1e-12)


def test_a_tolerance_stops_early_and_batches_are_apart():
    costs = draw(3, 5, 6)
    plans = transport_plan(costs, tolerance=1e-10)
    for plan, cost in zip(plans, costs, strict=True):
        assert torch.allclose(plan, transport_plan(cost, iterations=1000), atol=1e-8)


def test_small_entropies_do_not_overflow_and_no_value_is_read():
    with no_waits():
        plan = transport_plan(1000 * draw(4, 4), epsilon=1e-3, iterations=10)
    assert plan.isfinite().all()

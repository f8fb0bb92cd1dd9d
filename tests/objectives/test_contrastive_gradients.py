"""Tests of gradients and penalties of InfoNCE against autograd and loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ShapeError
from mmcl.objectives.contrastive_gradients import relative_penalties, similarity_gradients


def sides():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)


def test_gradients_equal_those_of_autograd():
    a, b = sides()
    cosines = (normalize(a, dim=1) @ normalize(b, dim=1).T).requires_grad_()
    losses = (cosines / 0.3).logsumexp(1) - cosines.diagonal() / 0.3
    (expected,) = torch.autograd.grad(losses.sum(), cosines)
    found = similarity_gradients(a, b, 0.3)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-12)
    assert torch.allclose(found.sum(1), torch.zeros(6, dtype=torch.float64), atol=1e-12)


def test_penalties_equal_the_loop():
    a, b = sides()
    one, other = normalize(a, dim=1).tolist(), normalize(b, dim=1).tolist()
    found = relative_penalties(a, b, 0.3)
    for i, row in enumerate(one):
        weights = [math.exp(sum(x * y for x, y in zip(row, key, strict=True)) / 0.3) for key in other]
        weights[i] = 0.0
        assert found[i].tolist() == pytest.approx([each / sum(weights) for each in weights], rel=1e-10)


def test_a_small_temperature_penalizes_only_the_hardest_and_a_large_one_all_alike():
    a, b = sides()
    hard, even = relative_penalties(a, b, 1e-3), relative_penalties(a, b, 1e6)
    assert torch.allclose(hard.amax(1), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(even, (1 - torch.eye(6, dtype=torch.float64)) / 5, atol=1e-6)


def test_sides_that_are_not_paired_are_an_error():
    for function in (similarity_gradients, relative_penalties):
        with pytest.raises(ShapeError, match=r"\(2, 3\)"):
            function(torch.ones(2, 3), torch.ones(3, 3))

"""Tests of SoftplusSums against softplus of each pair."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import softplus
from waits import elsewhere

from mmcl.errors import InputError, TrainingError
from mmcl.objectives.kernel.softplus_sums import SoftplusSums


def products(dtype=torch.float64, scale=3.0):
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randn(n, 4, generator=generator, dtype=torch.float64) for n in (7, 11))
    centres = 5 * torch.randn(13, generator=generator, dtype=torch.float64)
    return [each.to(dtype).requires_grad_() for each in (scale * queries, keys, centres)]


def exact(queries, keys, centres, own):
    logits = queries @ keys.T
    kept = torch.ones_like(logits, dtype=torch.bool)
    kept[torch.arange(len(queries)), own + torch.arange(len(queries))] = False
    return softplus(logits[kept][:, None] - centres, threshold=100).sum()


def summed(queries, keys, centres, own, block_size=None):
    highest = torch.maximum((queries @ keys.T).max(), centres.max()).detach()
    return SoftplusSums.of(centres, highest, block_size).of_products(queries, keys, own, block_size)


@pytest.mark.parametrize("own", [0, 4])
@pytest.mark.parametrize("block_size", [None, 3])
def test_value_and_gradients_equal_those_of_each_pair(own, block_size):
    given = products()
    found, expected = summed(*given, own, block_size), exact(*given, own)
    assert found.item() == pytest.approx(expected.item(), rel=1e-11)
    pairs = zip(torch.autograd.grad(found, given), torch.autograd.grad(expected, given), strict=True)
    for one, other in pairs:
        assert torch.allclose(one, other, rtol=1e-8, atol=1e-8)


def test_the_error_of_a_comparison_is_below_1e_10_in_float32_and_1e_12_in_float64():
    centres = torch.tensor([0.3])
    for dtype, bound in ((torch.float32, 1e-10), (torch.float64, 1e-12)):
        sums = SoftplusSums.of(centres.to(dtype), 40.0)
        low, step, coefficients = (each.double() for each in sums)
        places = torch.linspace(0, 1, 9, dtype=torch.float64)[:, None]
        # Coefficients of float32 are rounded, so that large sums have the error of float32.
        cells = torch.arange(coefficients.shape[1])[None]
        x = low + step * (cells + places)
        powers = torch.stack([places**n for n in range(6)])
        found = torch.einsum("nc,np->pc", coefficients, powers[:, :, 0])
        expected = softplus(x - centres.to(dtype).double(), threshold=100)
        rounding = 2 * torch.finfo(dtype).eps * expected
        assert ((found - expected).abs() <= bound + rounding).all()


def test_products_far_below_all_centres_count_0_and_far_above_linearly():
    centres = torch.tensor([0.0, 1.0])
    low, high = -torch.ones(1, 1) * 1e4, torch.ones(1, 1) * 200
    sums = SoftplusSums.of(centres, 200.0)
    assert sums.of_products(torch.ones(1, 1), low, own=5).item() == pytest.approx(0, abs=1e-12)
    assert sums.of_products(torch.ones(1, 1), high, own=5).item() == pytest.approx(399.0)


def test_values_are_not_read_elsewhere_and_nan_stays():
    given = products()
    sums = SoftplusSums.of(given[2], 40.0)
    with elsewhere():
        other = SoftplusSums.of(given[2], 40.0)
    assert other.coefficients.shape == (6, 4096) and sums.coefficients.shape[1] < 4096
    one, two = (each.of_products(*given[:2], 0).item() for each in (sums, other))
    assert one == pytest.approx(two, rel=1e-11)
    queries = given[0].detach().clone()
    queries[2, 1] = float("nan")
    assert sums.of_products(queries, given[1], 0).isnan()


def test_bad_input():
    given = products()
    with pytest.raises(InputError, match="block_size is 0"):
        summed(*given, 0, block_size=0)
    with pytest.raises(TrainingError, match="create_graph"):
        torch.autograd.grad(summed(*given, 0), given[0], create_graph=True)

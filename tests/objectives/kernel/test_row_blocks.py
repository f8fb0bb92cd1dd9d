"""Tests of losses that are computed for blocks of rows."""

from __future__ import annotations

import pytest
import torch

from mmcl.errors import InputError
from mmcl.objectives.kernel.row_blocks import hardest_negatives, masked_logsumexp, own_columns, sum_of_blocks


def cubes(start, rows, weights, keys):
    assert len(rows) == len(weights)
    return (weights[:, None] * (rows @ keys.T) ** 3).sum() + start * 0


@pytest.mark.parametrize("block_size", [1, 3, 5, 16, None])
def test_blocks_give_the_same_sum_and_gradients(block_size):
    rows, keys = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weights = torch.rand(5, dtype=torch.float64, requires_grad=True)
    found = sum_of_blocks(cubes, [rows, weights], [keys], block_size)
    expected = cubes(0, rows, weights, keys)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    for one, other in zip(
        *(torch.autograd.grad(each, [rows, weights, keys]) for each in (found, expected)), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-12)


def test_without_rows_the_sum_is_0_with_a_gradient_path():
    rows, keys = torch.zeros(0, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    total = sum_of_blocks(lambda start, rows, keys: (rows @ keys.T).sum(), [rows], [keys], None)
    total.backward()
    assert total.item() == 0 and not keys.grad.any()


def test_one_block_of_similarities_is_in_memory_at_a_time():
    sizes = []

    def loss(start, rows, keys):
        sizes.append(len(rows))
        return (rows @ keys.T).exp().sum()

    rows = torch.randn(7, 3, requires_grad=True)
    sum_of_blocks(loss, [rows], [rows], 3).backward()
    assert sizes[:3] == [3, 3, 1] and sorted(sizes[3:]) == [1, 3, 3]


def test_an_invalid_block_size_is_an_error():
    with pytest.raises(InputError, match="block_size is 0"):
        sum_of_blocks(cubes, [torch.ones(2, 2)], [torch.ones(2, 2)], 0)


def test_the_hardest_negatives_exclude_the_own_key_and_include_ties():
    rows, keys = torch.ones(2, 1), torch.tensor([[3.0], [9.0], [5.0], [5.0]])
    assert hardest_negatives(rows, keys, 1, 0.01).tolist() == [[False, False, True, True], [False, True, False, False]]
    assert hardest_negatives(rows, keys, 1, 1.0).sum(1).tolist() == [3, 3]
    assert own_columns(rows, 2).tolist() == [[2], [3]]


def test_a_masked_logsumexp_has_second_derivatives_also_for_rows_without_keys():
    values = torch.randn(3, 4, dtype=torch.float64)
    mask = torch.tensor([[True, False, True, True], [False] * 4, [True] * 4])
    found = masked_logsumexp(values, mask)
    assert found[0].item() == pytest.approx(values[0, [0, 2, 3]].logsumexp(0).item(), rel=1e-12)
    assert found[1] == 0 and found[2].item() == pytest.approx(values[2].logsumexp(0).item(), rel=1e-12)
    assert torch.autograd.gradgradcheck(lambda x: masked_logsumexp(x, mask), [values.requires_grad_()])

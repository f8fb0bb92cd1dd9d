"""Weights of listed pairs."""

from __future__ import annotations

import pytest
import torch
from waits import elsewhere, no_waits

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import Sparse, weighted_info_nce

QUERIES, KEYS = (
    torch.tensor([0, 0, 2, 2, 2]),
    torch.tensor([1, 3, 0, 0, 2]),
)  # one pair twice


def matrix(values):
    dense = torch.zeros(3, 4, dtype=torch.float64)
    for query, key, value in zip(QUERIES.tolist(), KEYS.tolist(), values.tolist(), strict=True):
        dense[query, key] += value
    return dense


@pytest.mark.parametrize("values", [None, torch.tensor([0.5, 2.0, 1.0, 3.0, 0.0], dtype=torch.float64)])
def test_products_are_those_of_the_matrix(values):
    pairs, dense = Sparse(QUERIES, KEYS, (3, 4), values), matrix(torch.ones(5) if values is None else values)
    keys, queries = torch.randn(4, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(pairs.matmul(keys), dense @ keys)
    assert torch.allclose(pairs.transposed_matmul(queries), dense.T @ queries)
    assert torch.allclose(pairs.row_sums(keys), dense.sum(1)) and torch.allclose(pairs.column_sums(keys), dense.sum(0))
    assert torch.allclose(pairs.row_dots(queries, keys), (dense * (queries @ keys.T)).sum(1))
    assert torch.allclose(pairs.column_dots(queries, keys), (dense * (queries @ keys.T)).sum(0))


@pytest.mark.parametrize("pairs", [1, 5, 40])  # 40 pairs are added up in several parts
@pytest.mark.parametrize(("dim", "dtype"), [(0, torch.long), (1, torch.int32), (5, torch.long)])
def test_products_are_the_same_where_values_are_not_read(pairs, dim, dtype):
    generator = torch.Generator().manual_seed(0)
    queries, keys = (torch.randint(0, size, (pairs,), generator=generator) for size in (3, 4))
    values = torch.rand(pairs, generator=generator, dtype=torch.float64).requires_grad_()
    sides = [torch.randn(size, dim, generator=generator, dtype=torch.float64) for size in (4, 3)]

    queries, keys = queries.to(dtype), keys.to(dtype)

    def results():
        sparse = Sparse(queries, keys, (3, 4), values)
        found = [sparse.matmul(sides[0]), sparse.transposed_matmul(sides[1]), sparse.dense(sides[0])]
        return [*found, *torch.autograd.grad(sum(each.square().sum() for each in found), values)]

    with no_waits():
        found = results()
    for one, other in zip(found, results(), strict=True):
        assert torch.allclose(one, other)


def test_pairs_of_an_empty_matrix_are_an_error_on_every_device():
    with elsewhere(), pytest.raises(InputError, match=r"1 pairs .*\(0, 2\)"):
        Sparse(torch.tensor([0]), torch.tensor([1]), (0, 2))


@pytest.mark.parametrize("block_size", [None, 2])
def test_the_loss_is_that_of_the_dense_matrix(block_size):
    values = torch.tensor([0.5, 2.0, 1.0, 3.0, 1.5], dtype=torch.float64)
    sides = [torch.randn(count, 5, dtype=torch.float64, requires_grad=True) for count in (3, 4)]
    losses = [
        weighted_info_nce(*sides, pairs, temperature=0.3, block_size=block_size)
        for pairs in (Sparse(QUERIES, KEYS, (3, 4), values), matrix(values))
    ]
    assert torch.allclose(*losses)
    for one, other in zip(*(torch.autograd.grad(loss, sides) for loss in losses), strict=True):
        assert torch.allclose(one, other)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"lengths \[1, 2\]"):
        Sparse(torch.tensor([0, 1]), torch.tensor([0]), (2, 2))
    with pytest.raises(InputError, match="keys .*0 to 2.*0 to 1"):
        Sparse(torch.tensor([0, 1]), torch.tensor([0, 2]), (2, 2))
    with pytest.raises(InputError, match="values"):
        Sparse(torch.tensor([0]), torch.tensor([0]), (1, 1), torch.tensor([-1.0]))

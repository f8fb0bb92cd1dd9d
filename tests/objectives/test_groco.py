"""Tests of GroCo against an independent sorting network, its case of one pair, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import GroCoLoss
from mmcl.objectives.groco import low_rank_shares


def draw(count=3, batch=6, seed=0):
    return torch.randn(count, batch, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def permutation(values):
    """The permutation matrix of the network, in plain loops: P[i][j] is the probability of value i in rank j."""
    n = len(values)
    values, P = list(values), [[float(i == j) for j in range(n)] for i in range(n)]
    for layer in range(n):
        for one in range(layer % 2, n - 1, 2):
            a, b = values[one], values[one + 1]
            alpha = math.atan(b - a) / math.pi + 0.5
            values[one], values[one + 1] = alpha * a + (1 - alpha) * b, (1 - alpha) * a + alpha * b
            for row in P:
                left, right = row[one], row[one + 1]
                row[one], row[one + 1] = alpha * left + (1 - alpha) * right, (1 - alpha) * left + alpha * right
    return P


def slow(anchors, views, temperature, negatives):
    """anchors are the views, followed by crops."""
    total, batch = 0.0, anchors.shape[1]
    for number, anchor in enumerate(anchors):
        for i in range(batch):
            others = [cosine_similarity(anchor[i], anchor[j], dim=0).item() for j in range(batch) if j != i]
            low = sorted(others)[-negatives:]
            high = sorted(
                cosine_similarity(anchor[i], view[i], dim=0).item() for v, view in enumerate(views) if v != number
            )
            P = permutation([each / temperature for each in low + high])
            p = [sum(row[len(low) :]) for row in P]
            losses = [-math.log(1 - each) for each in p[: len(low)]] + [-math.log(each) for each in p[len(low) :]]
            total += sum(losses) / len(losses)
    return total / len(anchors) / batch


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("negatives", [1, 3, 10])
def test_equals_the_slow_loop(count, block_size, negatives):
    views = draw(count)
    loss = GroCoLoss(0.5, negatives, block_size=block_size)(views)
    assert loss.item() == pytest.approx(slow(views, views, 0.5, negatives), rel=1e-10)


def test_small_crops_are_anchors_only():
    views, crops = draw(2), draw(3, seed=1)
    expected = slow(torch.cat([views, crops]), views, 1.0, 4)
    assert GroCoLoss(negatives=4)(views, crops).item() == pytest.approx(expected, rel=1e-10)


def test_shares_equal_those_of_the_permutation_matrix():
    values = torch.randn(5, 7, dtype=torch.float64)
    found = low_rank_shares(values, 3)
    for row, shares in zip(values.tolist(), found.tolist(), strict=True):
        assert shares == pytest.approx([sum(each[:3]) for each in permutation(row)], rel=1e-10)
    assert found.sum(1).tolist() == pytest.approx([3] * 5)


def test_of_one_pair_it_is_a_pairwise_loss():
    """With one positive and one negative it is -log F(s_p - s_n), with F the Cauchy distribution function."""
    views = draw(2, 2)
    loss, expected = GroCoLoss(0.2)(views), 0.0
    for v, u in ((0, 1), (1, 0)):
        for i in range(2):
            positive, negative = (
                cosine_similarity(views[v, i], other, dim=0).item() for other in (views[u, i], views[v, 1 - i])
            )
            expected -= math.log(math.atan((positive - negative) / 0.2) / math.pi + 0.5) / 4
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_gradients_equal_finite_differences_and_keys_get_none_by_default():
    views = draw(2, 4).requires_grad_()
    assert torch.autograd.gradcheck(GroCoLoss(0.5, 2, stop_gradient=False), views)
    (gradient,) = torch.autograd.grad(GroCoLoss(0.5, 2)(views), views)

    (both,) = torch.autograd.grad(GroCoLoss(0.5, 2, stop_gradient=False)(views), views)
    assert gradient.any() and not torch.allclose(gradient, both)


def test_positives_above_all_negatives_have_a_small_loss():
    apart = torch.eye(6, dtype=torch.float64).expand(3, 6, 6)
    assert GroCoLoss(0.01)(apart) < 0.1 < GroCoLoss(0.01)(draw())


def test_a_single_sample_counts_0():
    assert GroCoLoss()(draw(2, 1)).item() == 0


def test_bad_input():
    with pytest.raises(ShapeError, match="2 or more views"):
        GroCoLoss()(draw(1))
    with pytest.raises(ShapeError, match=r"crops have shape \(1, 3, 4\)"):
        GroCoLoss()(draw(2), draw(1, 3))
    with pytest.raises(InputError, match="crop 1: row 2 is not finite"):
        GroCoLoss()(draw(2), draw(2).index_put((torch.tensor(1), torch.tensor(2)), torch.tensor(torch.nan).double()))
    for negatives in (0, 2.5, "all"):
        with pytest.raises(InputError, match="negatives is"):
            GroCoLoss(negatives=negatives)

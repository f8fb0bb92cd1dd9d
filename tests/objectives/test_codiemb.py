"""Tests of CoDiEmb's loss of retrieval against a loop and cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import CoDiEmbRetrievalLoss, HardContrastiveLoss


def given(batch=5, positives=2, negatives=3, dim=6):
    generator = torch.Generator().manual_seed(0)
    shapes = (batch, dim), (batch, positives, dim), (batch, negatives, dim)
    return [torch.randn(*each, generator=generator, dtype=torch.float64).requires_grad_() for each in shapes]


def slow(queries, positives, hard, temperature):
    losses = []
    for j in range(positives.shape[1]):
        bank = [*positives[:, j], *(hard.flatten(0, 1) if hard is not None else [])]
        bank = [normalize(each, dim=0) for each in bank]
        for i, query in enumerate(normalize(queries, dim=1)):
            logits = [float(query @ each) / temperature for each in bank]
            losses.append(math.log(sum(map(math.exp, logits))) - logits[i])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("negatives", [None, 0, 3])
@pytest.mark.parametrize("positives", [1, 2])
def test_equals_the_slow_loop(block_size, positives, negatives):
    queries, close, hard = (each.detach() for each in given(positives=positives, negatives=negatives or 0))
    hard = None if negatives is None else hard
    loss = CoDiEmbRetrievalLoss(0.2, block_size=block_size)(queries, close, hard)
    assert loss.item() == pytest.approx(slow(queries, close, hard, 0.2), rel=1e-10)


def test_with_one_positive_it_is_info_nce_of_one_direction():
    a, b = draw([6])["a"], draw([6])["b"]
    expected = HardContrastiveLoss(0.2, share=1.0)(a, b).item()
    assert CoDiEmbRetrievalLoss(0.2)(a, b).item() == pytest.approx(expected, rel=1e-12)
    queries, positives, hard = given(positives=1)
    q, keys = (
        normalize(each, dim=1) for each in (queries, torch.cat([positives, hard], 1).transpose(0, 1).flatten(0, 1))
    )
    expected = cross_entropy(q @ keys.T / 0.2, torch.arange(5)).item()
    assert CoDiEmbRetrievalLoss(0.2)(queries, positives, hard).item() == pytest.approx(expected, rel=1e-10)


def test_a_value_by_hand():
    loss = CoDiEmbRetrievalLoss(1.0)(torch.eye(2), torch.eye(2), -torch.eye(2)[:, None])
    assert loss.item() == pytest.approx(math.log(math.e + 2 + 1 / math.e) - 1, rel=1e-6)


@pytest.mark.parametrize("block_size", [None, 2])
def test_gradients_equal_finite_differences(block_size):
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss(*entries):
        return CoDiEmbRetrievalLoss(entries[3], block_size=block_size)(*entries[:3])

    assert torch.autograd.gradcheck(loss, (*given(), temperature))


def test_positives_of_a_query_do_not_push_each_other():
    queries, positives, _ = given(batch=1)
    loss = CoDiEmbRetrievalLoss(0.2)(queries, positives)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_bad_input():
    queries, positives, hard = (each.detach() for each in given())
    with pytest.raises(ShapeError, match="1 or more"):
        CoDiEmbRetrievalLoss()(queries, positives[:, :0])
    for wrong in (hard[:3], hard[:, 0], hard[:, :, :2]):
        with pytest.raises(ShapeError, match="hard_negatives"):
            CoDiEmbRetrievalLoss()(queries, positives, wrong)
    positives[3, 1, 0] = float("inf")
    with pytest.raises(InputError, match=r"positives.* 7 .*inf"):
        CoDiEmbRetrievalLoss()(queries, positives)

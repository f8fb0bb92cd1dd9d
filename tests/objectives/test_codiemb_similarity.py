"""Tests of CoDiEmb's loss of semantic similarity, each term against a loop or scipy."""

from __future__ import annotations

import math

import pytest
import torch
from objective_cases import draw
from scipy.special import softmax
from scipy.stats import entropy, pearsonr, rankdata
from torch.nn.functional import cosine_similarity

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import CoDiEmbSimilarityLoss

TERMS = {"pearson": 0.0, "rank_kl": 0.0, "order": 0.0}


def pairs(batch=8, seed=0):
    given = draw([batch], seed=seed)
    return given["a"].detach(), given["b"].detach(), given["targets"]


def term(name, a, b, targets, **settings):
    return CoDiEmbSimilarityLoss(0.2, **(TERMS | {name: 1.0}), **settings)(a, b, targets).item()


def slow_order(scores, targets, temperature):
    losses = []
    for k, own in enumerate(targets):
        lower = [j for j, other in enumerate(targets) if own - other > 1e-8]
        if lower:
            weight = max(own - targets[j] for j in lower)
            logits = [weight * scores[k] / temperature]
            logits += [(own - targets[j]) * scores[j] / temperature for j in lower]
            losses.append(math.log(sum(map(math.exp, logits))) - logits[0])
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_term_equals_its_slow_loop(seed, block_size):
    a, b, targets = pairs(seed=seed)
    assert len(targets.unique()) < len(targets)  # some ranks are tied
    scores = cosine_similarity(a, b).tolist()
    expected = 1 - pearsonr(scores, targets).statistic
    assert term("pearson", a, b, targets, block_size=block_size) == pytest.approx(expected, rel=1e-10)
    heights = (8 - rankdata(-targets.numpy())) / 7
    expected = entropy(softmax(heights / 0.2), softmax(torch.tensor(scores).numpy() / 0.2)) / 8
    assert term("rank_kl", a, b, targets, block_size=block_size) == pytest.approx(expected, rel=1e-5)
    expected = slow_order(scores, targets.tolist(), 0.2)
    assert term("order", a, b, targets, block_size=block_size) == pytest.approx(expected, rel=1e-10)


def test_terms_are_summed_with_their_weights():
    given = pairs()
    weights = {"pearson": 2.0, "rank_kl": 5.0, "order": 0.5}
    expected = sum(weight * term(name, *given) for name, weight in weights.items())
    assert CoDiEmbSimilarityLoss(0.2)(*given).item() == pytest.approx(expected, rel=1e-10)


def test_values_by_hand():
    a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    for targets, correlation in ((torch.tensor([1.0, 0.0]), 1), (torch.tensor([0.0, 1.0]), -1)):
        loss = CoDiEmbSimilarityLoss(1.0, **(TERMS | {"pearson": 1.0}))(a, b, targets)
        assert loss.item() == pytest.approx(1 - correlation, abs=1e-6)
    # Scores 1 and 0 have the ranks' heights, so the distributions are equal.
    assert CoDiEmbSimilarityLoss(1.0, **(TERMS | {"rank_kl": 1.0}))(a, b, torch.tensor([4, 1])).item() == pytest.approx(
        0, abs=1e-6
    )


def test_without_grades_that_differ_nothing_is_correlated_or_ordered():
    a, b, targets = pairs()
    assert term("pearson", a, b, torch.ones_like(targets)) == term("order", a, b, torch.ones_like(targets)) == 0
    assert term("pearson", a, a, targets) == 1  # cosines of 1 up to rounding
    assert CoDiEmbSimilarityLoss()(a[:1], b[:1], targets[:1]).item() == 0


def test_training_raises_the_correlation():
    a, b, targets = pairs()
    a.requires_grad_()
    objective, optimizer = CoDiEmbSimilarityLoss(), torch.optim.Adam([a], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        objective(a, b, targets).backward()
        optimizer.step()
    assert pearsonr(cosine_similarity(a, b).tolist(), targets).statistic > 0.95


def test_bad_input():
    a, b, targets = pairs()
    for name in TERMS:
        with pytest.raises(InputError, match=name):
            CoDiEmbSimilarityLoss(**{name: -1.0})
    with pytest.raises(ShapeError, match="targets"):
        CoDiEmbSimilarityLoss()(a, b, targets[:3])
    targets[2] = float("nan")
    with pytest.raises(InputError, match="targets.* 2 .*nan"):
        CoDiEmbSimilarityLoss()(a, b, targets)

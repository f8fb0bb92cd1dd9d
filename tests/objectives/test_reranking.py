"""Tests of the losses of reranking: loops, and gradients of all four combinations by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from waits import elsewhere

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import RerankingLoss

SIDES = ["cl", "sft"]


def logits(batch=4, candidates=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, candidates, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]


def slow(yes, no, kind):
    losses = []
    for y, n in zip(yes.tolist(), no.tolist(), strict=True):
        if kind == "cl":
            losses.append(math.log(sum(math.exp(each) for each in y)) - y[0])
        else:
            losses.append(math.log(1 + math.exp(n[0] - y[0])))
            losses[-1] += sum(math.log(1 + math.exp(y[j] - n[j])) for j in range(1, len(y)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("weight", SIDES)
def test_the_value_is_the_slow_loop_of_the_weights_loss(weight, direction):
    yes, no = logits()
    found = RerankingLoss(weight=weight, direction=direction)(yes, no)
    assert found.item() == pytest.approx(slow(yes, no, weight), rel=1e-12)
    sharper = RerankingLoss(0.5, weight, direction)(yes, no)
    assert sharper.item() == pytest.approx(slow(2 * yes, 2 * no, weight), rel=1e-12)


def test_pure_losses_are_cross_entropies():
    yes, no = logits()
    found = RerankingLoss(weight="cl", direction="cl")(yes, no)
    assert found.item() == pytest.approx(cross_entropy(yes, torch.zeros(4).long()).item(), rel=1e-12)
    labels = torch.zeros_like(yes).index_fill(1, torch.tensor([0]), 1.0)
    expected = binary_cross_entropy_with_logits(yes - no, labels, reduction="none").sum(1).mean()
    assert RerankingLoss()(yes, no).item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("weight", SIDES)
def test_gradients_are_weights_times_directions_also_of_embeddings(weight, direction):
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64).requires_grad_()
    heads = [torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(2)]
    yes, no = (hidden @ head for head in heads)
    loss = RerankingLoss(weight=weight, direction=direction)(yes, no)
    found = torch.autograd.grad(loss, [hidden, *heads], allow_unused=True, retain_graph=True)
    weights = (yes.softmax(1) if weight == "cl" else (yes - no).sigmoid()).detach()
    weights = torch.cat([weights[:, :1] - 1, weights[:, 1:]], 1)
    surrogate = (weights * (yes if direction == "cl" else yes - no)).sum() / 4
    expected = torch.autograd.grad(surrogate, [hidden, *heads], allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        assert (one is None or not one.any()) if other is None else torch.allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("kind", SIDES)
def test_gradients_of_pure_losses_equal_finite_differences(kind):
    temperature = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    given = (*logits(), temperature)
    assert torch.autograd.gradcheck(lambda y, n, t: RerankingLoss(t, kind, kind)(y, n), given)


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("weight", SIDES)
def test_masked_candidates_are_as_if_they_were_left_out(weight, direction):
    objective = RerankingLoss(weight=weight, direction=direction)
    yes, no = logits()
    mask = torch.arange(5).expand(4, 5) < 3
    found, expected = objective(yes, no, mask), objective(yes[:, :3], no[:, :3])
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    one, other = (torch.autograd.grad(each, yes, retain_graph=True)[0] for each in (found, expected))
    assert torch.allclose(one, other) and not one[:, 3:].any()


def test_training_ranks_the_positive_first():
    for weight in SIDES:
        for direction in SIDES:
            yes, no = logits()
            optimizer = torch.optim.SGD([yes, no], 5.0)
            for _ in range(30):
                optimizer.zero_grad()
                RerankingLoss(weight=weight, direction=direction)(yes, no).backward()
                optimizer.step()
            scores = yes if direction == "cl" else yes - no
            assert scores.argmax(1).tolist() == [0] * 4


def test_bad_input():
    yes, no = (each.detach() for each in logits())
    for name in ("weight", "direction"):
        with pytest.raises(InputError, match=f"{name} is 'dpo'"):
            RerankingLoss(**{name: "dpo"})
    with pytest.raises(ShapeError, match="mask"):
        RerankingLoss()(yes, no, torch.ones(4, 5))
    mask = torch.ones(4, 5, dtype=torch.bool).index_put((torch.tensor(2), torch.tensor(0)), torch.tensor(False))
    with pytest.raises(InputError, match="query 2"):
        RerankingLoss()(yes, no, mask)
    with elsewhere():
        assert RerankingLoss()(yes, no, mask).isnan()

"""Tests of ConR against a loop and SupCon."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize
from waits import elsewhere

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives import ConRLoss, SupConLoss

TARGETS = torch.tensor([1.0, 1.5, 4.0, 2.0, 8.0, 7.5], dtype=torch.float64)
PREDICTIONS = torch.tensor([1.0, 3.0, 3.5, 2.5, 3.0, 6.0], dtype=torch.float64)
WEIGHTS = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.5, 1.0], dtype=torch.float64)


def draw():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def slow(features, weights, window, distance, as_released):
    z, total = normalize(features, dim=1).tolist(), 0.0
    for i, row in enumerate(z):
        e = [math.exp(sum(x * y for x, y in zip(row, other, strict=True)) / 0.3) for other in z]
        apart = [abs(float(TARGETS[i] - TARGETS[j])) for j in range(6)]
        near = [abs(float(PREDICTIONS[i] - PREDICTIONS[j])) <= window for j in range(6)]
        positives = [j for j in range(6) if j != i and apart[j] <= window]
        negatives = [j for j in range(6) if apart[j] > window and near[j]]
        if not positives or not negatives:
            continue
        below = sum(e[p] for p in positives)
        below += sum(float(weights[i]) * math.exp(distance * apart[n]) * e[n] for n in negatives)
        below += (6 - len(positives)) * as_released
        total -= float(weights[i]) * sum(math.log(e[p] / below) for p in positives) / len(positives)
    return total / 6


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("settings", [(1.0, 0.01, False), (1.0, 0.5, True), (0.5, 0.0, False)])
def test_equals_the_slow_loop(block_size, weights, settings):
    loss = ConRLoss(0.3, *settings, block_size=block_size)(draw(), TARGETS, PREDICTIONS, weights)
    expected = slow(draw(), torch.ones(6) if weights is None else weights, *settings)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_with_equal_predictions_and_classes_as_targets_it_is_sup_con():
    labels = torch.tensor([0, 3, 0, 3, 6, 6])
    loss = ConRLoss(0.3, window=0.5, distance=0.0)(draw(), labels, torch.zeros(6))
    assert loss.item() == pytest.approx(SupConLoss(0.3)(draw(), labels).item(), rel=1e-10)


def test_gradients_equal_finite_differences_and_predictions_get_none():
    features, predictions = draw().requires_grad_(), PREDICTIONS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: ConRLoss(0.3)(given, TARGETS, PREDICTIONS), features)
    ConRLoss(0.3)(features, TARGETS, predictions).backward()
    assert predictions.grad is None


def test_constant_targets_give_0():
    features = draw().requires_grad_()
    loss = ConRLoss()(features, torch.ones(6), PREDICTIONS)
    loss.backward()
    assert loss.item() == 0 and not features.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error(bad):
    given = {"targets": TARGETS, "predictions": PREDICTIONS, "weights": WEIGHTS}
    for name in given:
        changed = given | {name: given[name].index_fill(0, torch.tensor(2), bad)}
        with pytest.raises(InputError, match=f"{name}: row 2 is not finite"):
            ConRLoss()(draw(), **changed)
        with elsewhere():
            assert not ConRLoss()(draw(), **changed).isfinite()


def test_bad_input():
    with pytest.raises(ShapeError, match=r"targets has shape \(3,\)"):
        ConRLoss()(draw(), TARGETS[:3], PREDICTIONS)
    with pytest.raises(InputError, match="-1"):
        ConRLoss()(draw(), TARGETS, PREDICTIONS, -torch.ones(6))
    with pytest.raises(ConfigError, match="'predictions'"):
        ConRLoss().of({"features": draw(), "targets": TARGETS})
    for settings in ({"window": -1}, {"distance": float("nan")}):
        with pytest.raises(InputError, match=next(iter(settings))):
            ConRLoss(**settings)

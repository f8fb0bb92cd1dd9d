"""Tests of SupReMix against a loop and SupCon."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize
from waits import elsewhere

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives import SupConLoss, SupReMixLoss

TARGETS = torch.tensor([1.0, 2.0, 4.0, 2.0, 3.0, 9.0], dtype=torch.float64)
LAM = torch.tensor([0.2, 0.1, 0.5, 0.9, 0.3, 0.7], dtype=torch.float64)
WEIGHTS = {"distance": lambda d: d + 1, "inverse": lambda d: 1 / (d + 1), "none": lambda d: 1.0}


def draw():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def slow(features, window, weighting, divisor, negatives=True, positives=True):
    """The loss with each mixture built in full."""
    z, y, weight, losses = normalize(features, dim=1), TARGETS.tolist(), WEIGHTS[weighting], []
    for i in range(6):
        keys = [(z[k], y[k], y[k] == y[i]) for k in range(6) if k != i]
        if negatives:
            for k in range(6):
                if y[k] != y[i]:
                    mixed = (LAM[i] * z[i] + (1 - LAM[i]) * z[k]).detach()
                    keys.append((mixed, float(LAM[i]) * y[i] + (1 - float(LAM[i])) * y[k], False))
        if positives:
            for j in range(6):
                for k in range(6):
                    if y[j] < y[i] < y[k] and y[i] - y[j] < window and y[k] - y[i] < window:
                        c = (y[k] - y[i]) / (y[k] - y[j])
                        keys.append(((c * z[j] + (1 - c) * z[k]).detach(), y[i], True))
        s = [z[i] @ key / 0.3 for key, _, _ in keys]
        below = sum(weight(abs(y[i] - target)) * each.exp() for each, (_, target, _) in zip(s, keys, strict=True))
        chosen = [each for each, (_, _, same) in zip(s, keys, strict=True) if same]
        if chosen:
            total = -sum(each - below.log() for each in chosen)
            losses.append(total / (len(chosen) + (divisor == "positives_and_1")))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("window", [1.5, 10.0])
@pytest.mark.parametrize("weighting", ["distance", "inverse", "none"])
@pytest.mark.parametrize("divisor", ["positives", "positives_and_1"])
def test_value_and_gradient_equal_the_slow_loop(block_size, window, weighting, divisor):
    features = draw().requires_grad_()
    objective = SupReMixLoss(0.3, window, weighting=weighting, divisor=divisor, block_size=block_size)
    loss, expected = objective.of_mixtures(features, TARGETS, LAM), slow(features, window, weighting, divisor)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    one, other = (torch.autograd.grad(each, features)[0] for each in (loss, expected))
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("negatives", "positives"), [(True, False), (False, True)])
def test_either_kind_of_mixture_alone(negatives, positives):
    objective = SupReMixLoss(0.3, mixed_negatives=negatives, mixed_positives=positives)
    expected = slow(draw(), 5.0, "distance", "positives", negatives, positives)
    assert objective.of_mixtures(draw(), TARGETS, LAM).item() == pytest.approx(expected.item(), rel=1e-10)


def test_without_mixtures_and_weights_it_is_sup_con():
    objective = SupReMixLoss(0.3, mixed_negatives=False, mixed_positives=False, weighting="none")
    features = draw().requires_grad_()
    expected = SupConLoss(0.3)(features, TARGETS.long())
    assert objective(features, TARGETS).item() == pytest.approx(expected.item(), rel=1e-10)
    assert torch.autograd.gradcheck(lambda given: objective(given, TARGETS), features)


def test_coefficients_are_drawn_anew_in_each_call():
    objective = SupReMixLoss(0.3)
    assert objective(draw(), TARGETS).item() != objective(draw(), TARGETS).item()


def test_constant_targets_have_only_positives():
    features = draw().requires_grad_()
    loss = SupReMixLoss(0.3)(features, torch.ones(6))
    assert loss.item() == pytest.approx(SupConLoss(0.3)(draw(), torch.ones(6).long()).item(), rel=1e-10)


def test_bad_input():
    nan = TARGETS.index_fill(0, torch.tensor(3), float("nan"))
    with pytest.raises(InputError, match="targets: row 3"):
        SupReMixLoss()(draw(), nan)
    with pytest.raises(ShapeError, match=r"targets has shape \(3,\)"):
        SupReMixLoss()(draw(), TARGETS[:3])
    with pytest.raises(InputError, match=r"1\.9"):
        SupReMixLoss().of_mixtures(draw(), TARGETS, LAM + 1)
    with pytest.raises(ShapeError, match=r"lam has shape \(2,\)"):
        SupReMixLoss().of_mixtures(draw(), TARGETS, LAM[:2])
    with elsewhere():
        assert SupReMixLoss().of_mixtures(draw(), TARGETS, LAM + 1).isnan()
        assert SupReMixLoss().of_mixtures(draw(), nan, LAM).isnan()
    for settings in ({"window": 0}, {"own": -1}, {"other": float("inf")}):
        with pytest.raises(InputError, match=next(iter(settings))):
            SupReMixLoss(**settings)
    for settings in ({"weighting": "some"}, {"divisor": "some"}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            SupReMixLoss(**settings)

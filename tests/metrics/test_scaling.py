"""Temperature and Platt scaling recover known calibrations, and refuse invalid values."""

from __future__ import annotations

import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.scaling import fit_platt, fit_temperature


@pytest.mark.parametrize("scale", [0.25, 1.0, 6.0])
def test_scaled_logits_get_their_scale_back(drawn, scale):
    logits, labels = drawn
    assert fit_temperature(scale * logits, labels) == pytest.approx(scale, rel=0.06)


@pytest.mark.parametrize("scale", [0.3, 3.0])
def test_temperature_minimizes_cross_entropy(drawn, scale):
    logits, labels = drawn
    found = fit_temperature(scale * logits, labels)
    loss = [
        torch.nn.functional.cross_entropy(scale * logits.double() / t, labels)
        for t in (found, found - 0.01, found + 0.01)
    ]
    assert loss[0] < min(loss[1:])


def test_perfect_validation_data_do_not_make_every_answer_certain(drawn):
    logits, _ = (each[:50] for each in drawn)
    found = fit_temperature(logits, logits.argmax(1))
    confidence = (logits / found).softmax(1).amax(1)
    assert 0 < found < 1 and confidence.mean() == pytest.approx(51 / 52) and confidence.min() < 0.9
    certain = 1000 * logits  # already more confident than so few samples can show: not sharpened
    assert fit_temperature(certain, certain.argmax(1)) == 1.0


def test_absent_classes_are_ignored(drawn):
    logits, labels = drawn
    absent = torch.cat([logits, torch.full((4000, 1), -torch.inf)], 1)
    assert fit_temperature(absent, labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-12)


@pytest.mark.parametrize("right", [[True] * 12, [False] * 12, [False] * 6 + [True] * 6])
def test_platt_scaling_without_information_is_constant(right):
    raw = torch.linspace(0.9, 0.1, 12)  # where both occur, the wrong ones are the confident ones
    slope, intercept = fit_platt(raw, torch.tensor(right))
    assert slope == 0 and torch.tensor(intercept).sigmoid() == pytest.approx((sum(right) + 1) / 14)


def test_invalid_values_raise():
    with pytest.raises(ShapeError):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(InputError):
        fit_temperature(torch.tensor([[0.0, -torch.inf]]), torch.tensor([1]))
    with pytest.raises(InputError, match=r"1\.5"):
        fit_platt(torch.tensor([1.5, 0.2]), torch.tensor([True, False]))

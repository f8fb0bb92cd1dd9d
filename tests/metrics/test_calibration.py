"""Temperature and Platt scaling, calibration error and threshold."""

from __future__ import annotations

import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.calibration import (
    NotCalibrated,
    calibrate_confidence,
    calibrate_logits,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    rejection_threshold,
)


@pytest.fixture
def drawn():
    """Logits, and labels drawn from their softmax, so that they are calibrated."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]


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


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.95, 0.15, 1.0, 0.0], dtype=torch.double)
    correct = torch.tensor([True, False, True, True, False])
    # Bins of a tenth: |1.9 + 1 - 2| + |0.15 - 1| + |0 - 0|
    assert expected_calibration_error(confidence, correct, bins=10) == pytest.approx((0.9 + 0.85) / 5)


def test_calibrated_error_is_small(drawn):
    logits, labels = drawn
    found = calibrate_logits(4 * logits, labels)
    assert found.error_after < 0.03 < 0.1 < found.error_before
    assert found.samples == 4000 and found.accuracy == pytest.approx((logits.argmax(1) == labels).double().mean())
    again = found.probabilities(4 * logits).amax(1)
    assert float((again >= found.threshold).double().mean()) == found.accepted


def test_platt_scaling_calibrates_overconfident_sequences():
    generator = torch.Generator().manual_seed(0)
    raw = torch.rand(3000, generator=generator) * 0.3 + 0.7
    correct = torch.rand(3000, generator=generator) < (raw - 0.6)
    found = calibrate_confidence(raw, correct)
    assert found.error_after < 0.05 < 0.3 < found.error_before
    assert found.confidence(raw).diff().sign().equal(raw.diff().sign().double())  # the order is kept


@pytest.mark.parametrize("right", [[True] * 12, [False] * 12, [False] * 6 + [True] * 6])
def test_platt_scaling_without_information_is_constant(right):
    raw = torch.linspace(0.9, 0.1, 12)  # where both occur, the wrong ones are the confident ones
    slope, intercept = fit_platt(raw, torch.tensor(right))
    assert slope == 0 and torch.tensor(intercept).sigmoid() == pytest.approx((sum(right) + 1) / 14)


def test_calibration_never_raises_the_calibration_error():
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        logits, labels = torch.randn(40, 4, generator=generator), torch.randint(4, (40,), generator=generator)
        found = calibrate_logits(logits, labels)
        assert found.error_after <= found.error_before
        correct = torch.rand(40, generator=generator) < 0.5
        found = calibrate_confidence(torch.rand(40, generator=generator), correct)
        assert found.error_after <= found.error_before


def test_threshold_keeps_its_share_of_correct_answers():
    confidence = torch.arange(1, 101) / 100
    correct = torch.ones(100, dtype=torch.bool)
    assert rejection_threshold(confidence, correct) == pytest.approx(0.06)
    assert (confidence >= rejection_threshold(confidence, correct)).sum() == 95
    correct[:50] = False  # wrong answers do not matter
    assert (confidence[50:] >= rejection_threshold(confidence, correct)).sum() == 48
    assert rejection_threshold(confidence, torch.zeros(100, dtype=torch.bool)) is None


def test_few_samples_are_not_calibrated():
    for found in (calibrate_logits(torch.randn(9, 3), torch.zeros(9, dtype=torch.long)),
                  calibrate_confidence(torch.rand(9), torch.ones(9, dtype=torch.bool))):  # fmt: skip
        assert isinstance(found, NotCalibrated) and "9 samples" in found.reason


def test_invalid_values_raise():
    with pytest.raises(ShapeError):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long))
    with pytest.raises(InputError):
        fit_temperature(torch.tensor([[0.0, -torch.inf]]), torch.tensor([1]))
    with pytest.raises(ShapeError):
        expected_calibration_error(torch.rand(3), torch.ones(2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"1\.5"):
        fit_platt(torch.tensor([1.5, 0.2]), torch.tensor([True, False]))

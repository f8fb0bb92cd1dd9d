"""Calibration of classifiers and sequence models, calibration error and threshold."""

from __future__ import annotations

import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.calibration import (
    NotCalibrated,
    calibrate_confidence,
    calibrate_logits,
    expected_calibration_error,
    rejection_threshold,
)


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
        expected_calibration_error(torch.rand(3), torch.ones(2, dtype=torch.bool))
    with pytest.raises(InputError, match=r"1\.5"):
        rejection_threshold(torch.tensor([1.5, 0.2]), torch.tensor([True, False]))

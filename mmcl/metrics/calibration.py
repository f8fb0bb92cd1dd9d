"""Calibrated confidence: calibration of a model, calibration error, and a threshold for rejection.

All parameters are fitted on validation data. :mod:`mmcl.models.saved_calibration` stores them with the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from mmcl.arguments import takes_tensors
from mmcl.metrics.scaling import check_confidence, fit_platt, fit_temperature, log_odds

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 0.95  #: share of the correct validation answers that the rejection threshold keeps
LEAST_SAMPLES = 10  #: smallest number of validation samples to calibrate with
_BINS = 15  # as in Guo et al.


@dataclass(frozen=True)
class Calibration:
    """Calibrated confidence of a model, and how well it holds on validation data.

    Attributes:
        method: ``"temperature"`` for classifiers, ``"platt"`` for sequence models.
        parameters: the temperature; or slope and intercept of Platt scaling. They are 1, or 1 and 0, if others do not
            lower the calibration error.
        threshold: confidence below which an answer is rejected, see :func:`rejection_threshold`; None for none.
        samples: number of validation samples.
        accuracy: share of the validation samples that were answered correctly.
        error_before: expected calibration error before calibration.
        error_after: expected calibration error after it, on the samples that it was fitted on.
        accepted: share of the validation samples at or above the threshold; None without a threshold.
        accepted_accuracy: accuracy on these; None if there are none.
    """

    method: Literal["temperature", "platt"]
    parameters: tuple[float, ...]
    threshold: float | None
    samples: int
    accuracy: float
    error_before: float
    error_after: float
    accepted: float | None = None
    accepted_accuracy: float | None = None

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return class probabilities ``(batch, classes)`` of logits: ``softmax(logits / temperature)``."""
        (temperature,) = self.parameters
        return (logits.double() / temperature).softmax(-1)

    def confidence(self, raw: Tensor) -> Tensor:
        """Return the calibrated confidence of sequences, ``(batch,)``, see :func:`~mmcl.metrics.scaling.fit_platt`."""
        slope, intercept = self.parameters
        return (slope * log_odds(raw) + intercept).sigmoid()


class NotCalibrated(NamedTuple):
    """A model without a calibration, and why."""

    reason: str


Calibrated: TypeAlias = Calibration | NotCalibrated


@takes_tensors
def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = _BINS) -> float:
    """Return the expected calibration error: the mean gap between confidence and accuracy.

    ``ECE = sum_b n_b / n |accuracy_b - confidence_b|`` over bins b of equal width (Guo et al., arXiv 1706.04599,
    equation 3).

    Args:
        confidence: confidence of each answer in [0, 1], ``(samples,)``.
        correct: whether it is correct, boolean ``(samples,)``.
        bins: number of bins.

    Raises:
        ShapeError: there is no sample, or shapes differ.
        InputError: a confidence is outside [0, 1].

    >>> import torch
    >>> confidence = torch.tensor([0.9, 0.9, 0.6, 0.6], dtype=torch.double)
    >>> round(expected_calibration_error(confidence, torch.tensor([True, True, True, False])), 6)
    0.1
    """
    import torch

    check_confidence(confidence, correct)
    index = (confidence.double() * bins).long().clamp(max=bins - 1)
    gaps = confidence.new_zeros(bins, dtype=torch.double).index_add(0, index, correct.double() - confidence.double())
    return float(gaps.abs().sum()) / len(confidence)


@takes_tensors
def rejection_threshold(confidence: Tensor, correct: Tensor, kept: float = KEPT) -> float | None:
    """Return the highest threshold that keeps a share of the correct answers; None if no answer is correct.

    An answer is accepted if its confidence is at least the threshold. 95 % of the correct answers on validation data
    are kept, the operating point at which detectors of unknown inputs are usually compared (Hendrycks and Gimpel, arXiv
    1610.02136; Liang et al., arXiv 1706.02690). Unknown inputs play no part in the choice, so it needs none.

    Args:
        confidence: confidence of each answer, ``(samples,)``.
        correct: whether it is correct, boolean ``(samples,)``.
        kept: smallest share of the correct answers to keep.

    >>> import torch
    >>> rejection_threshold(torch.tensor([0.25, 0.5, 1.0, 0.75]), torch.tensor([False, True, True, True]), kept=0.6)
    0.75
    """
    check_confidence(confidence, correct)
    right = confidence[correct].sort().values
    if not len(right):
        return None
    return float(right[int((1 - kept) * len(right) + 1e-9)])


@takes_tensors
def calibrate_logits(logits: Tensor, labels: Tensor) -> Calibrated:
    """Calibrate a classifier by temperature scaling, and choose its threshold.

    Args:
        logits: logits of validation samples, ``(samples, classes)``.
        labels: their labels, ``(samples,)``.
    """
    if few := _too_few(len(labels)):
        return few
    temperature = fit_temperature(logits, labels)
    correct = logits.argmax(1) == labels
    before, after = ((logits.double() / scale).softmax(1).amax(1) for scale in (1.0, temperature))
    if expected_calibration_error(after, correct) > expected_calibration_error(before, correct):
        temperature, after = 1.0, before
    return _calibration("temperature", (temperature,), before, after, correct)


@takes_tensors
def calibrate_confidence(raw: Tensor, correct: Tensor) -> Calibrated:
    """Calibrate a sequence model by Platt scaling, and choose its threshold.

    Args:
        raw: confidence of each decoded validation sequence, ``(samples,)``.
        correct: whether it is correct, boolean ``(samples,)``.
    """
    if few := _too_few(len(raw)):
        return few
    slope, intercept = fit_platt(raw, correct)
    after = (slope * log_odds(raw) + intercept).sigmoid()
    if expected_calibration_error(after, correct) > expected_calibration_error(raw, correct):
        (slope, intercept), after = (1.0, 0.0), raw.double()
    return _calibration("platt", (slope, intercept), raw, after, correct)


def _too_few(samples: int) -> NotCalibrated | None:
    if samples >= LEAST_SAMPLES:
        return None
    return NotCalibrated(f"the validation split has {samples} samples, expected at least {LEAST_SAMPLES}")


def _calibration(
    method: Literal["temperature", "platt"],
    parameters: tuple[float, ...],
    before: Tensor,
    after: Tensor,
    correct: Tensor,
) -> Calibration:
    threshold, accepted, accuracy = rejection_threshold(after, correct), None, None
    if threshold is not None:
        above = after >= threshold
        accepted = float(above.double().mean())
        accuracy = float(correct[above].double().mean()) if bool(above.any()) else None
    return Calibration(
        method=method,
        parameters=parameters,
        threshold=threshold,
        samples=len(correct),
        accuracy=float(correct.double().mean()),
        error_before=expected_calibration_error(before, correct),
        error_after=expected_calibration_error(after, correct),
        accepted=accepted,
        accepted_accuracy=accuracy,
    )

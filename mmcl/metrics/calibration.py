"""Calibrated confidence: temperature and Platt scaling, calibration error, and a threshold for rejection.

All parameters are fitted on validation data. :mod:`mmcl.models.saved_calibration` stores them with the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from mmcl.arguments import takes_tensors
from mmcl.errors import InputError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 0.95  #: share of the correct validation answers that the rejection threshold keeps
LEAST_SAMPLES = 10  #: smallest number of validation samples to calibrate with
_BINS = 15  # as in Guo et al.
_HIGHEST = 100.0  # the temperature is between 1 / 100 and 100
_STEPS = 60  # of the bisection, which halve an interval of logarithms to below 1e-16
_RIDGE = 1e-3  # keeps the slope of Platt scaling finite if the answers are separable


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
        """Return the calibrated confidence of sequences, ``(batch,)``, see :func:`fit_platt`."""
        slope, intercept = self.parameters
        return (slope * _log_odds(raw) + intercept).sigmoid()


class NotCalibrated(NamedTuple):
    """A model without a calibration, and why."""

    reason: str


Calibrated: TypeAlias = Calibration | NotCalibrated


@takes_tensors
def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimizes the cross-entropy of ``softmax(logits / T)``.

    Guo et al., arXiv 1706.04599, section 4.2. The cross-entropy is convex in 1 / T. Bisection finds the root of its
    derivative, so the result is deterministic. T is limited to [0.01, 100].

    Differs from the paper: T below 1 sharpens only until the mean confidence is (correct + 1) / (samples + 2), which is
    Laplace's estimate of the accuracy. Otherwise, if all samples are classified correctly, T is 0 and every confidence
    is 1.

    Args:
        logits: ``(samples, classes)``; minus infinity for classes that cannot be predicted.
        labels: ``(samples,)``.

    Raises:
        ShapeError: there is no sample, or shapes differ.
        InputError: a logit is NaN, or that of a label is not finite.

    >>> import torch
    >>> logits = 3 * torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    >>> round(fit_temperature(logits, torch.tensor([0, 0, 0, 1])), 3)  # softmax(3 / 2.731, 0) is 3/4 and 1/4
    2.731
    """
    _check_logits(logits, labels)
    scores = logits.double()
    target = float(scores.gather(1, labels[:, None])[:, 0].mean())
    finite = scores.masked_fill(scores == -float("inf"), 0.0)
    limit = (int((logits.argmax(1) == labels).sum()) + 1) / (len(labels) + 2)

    def has_optimum_above(inverse: float) -> bool:  # the derivative of the cross-entropy is negative
        return float(((scores * inverse).softmax(1) * finite).sum(1).mean()) < target

    def is_unsure(inverse: float) -> bool:
        return float((scores * inverse).softmax(1).amax(1).mean()) < limit

    best = _bisected(has_optimum_above)
    return 1 / best if best <= 1 else 1 / min(best, max(1.0, _bisected(is_unsure)))


def _bisected(is_below: Callable[[float], bool]) -> float:
    """Return the value between 0.01 and 100 where a function changes from True to False."""
    low, high = -log(_HIGHEST), log(_HIGHEST)
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(exp(middle)) else (low, middle)
    return exp((low + high) / 2)


@takes_tensors
def fit_platt(raw: Tensor, correct: Tensor) -> tuple[float, float]:
    """Return slope a and intercept b, so that ``sigmoid(a * log(c / (1 - c)) + b)`` is the calibrated confidence.

    Platt (1999), "Probabilistic outputs for support vector machines", with his smoothed targets. If confidence carries
    no information (a would be negative, or all answers are alike), the slope is 0, and all confidences are equal.

    Args:
        raw: confidence c of each answer in [0, 1], ``(samples,)``.
        correct: whether it is correct, boolean ``(samples,)``.

    Raises:
        ShapeError: there is no sample, or shapes differ.
        InputError: a confidence is outside [0, 1].

    >>> import torch
    >>> raw = torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
    >>> slope, intercept = fit_platt(raw, torch.tensor([False, False, True, False, True, True]))
    >>> slope > 0
    True
    """
    import torch
    from sklearn.linear_model import LogisticRegression

    _check_confidence(raw, correct)
    right = int(correct.sum())
    wrong = len(correct) - right
    flat = (0.0, log((right + 1) / (wrong + 1)))
    if not right or not wrong:
        return flat
    # Both targets of each sample, weighted: a logistic regression with targets between 0 and 1.
    target = torch.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))
    odds = _log_odds(raw).repeat(2)[:, None].numpy()
    weights = torch.cat([target, 1 - target]).double().numpy()
    outcomes = [1] * len(raw) + [0] * len(raw)
    fitted = LogisticRegression(C=1 / _RIDGE, max_iter=1000).fit(odds, outcomes, sample_weight=weights)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (slope, intercept) if slope > 0 else flat


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

    _check_confidence(confidence, correct)
    index = (confidence.double() * bins).long().clamp(max=bins - 1)
    gaps = torch.zeros(bins, dtype=torch.double).index_add(0, index, correct.double() - confidence.double())
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
    _check_confidence(confidence, correct)
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
    after = (slope * _log_odds(raw) + intercept).sigmoid()
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


def _log_odds(probability: Tensor) -> Tensor:
    clipped = probability.double().clamp(1e-9, 1 - 1e-9)
    return (clipped / (1 - clipped)).log()


def _check_logits(logits: Tensor, labels: Tensor) -> None:
    if logits.dim() != 2 or not len(logits) or labels.shape != logits.shape[:1]:
        raise ShapeError(
            f"logits are {tuple(logits.shape)} and labels {tuple(labels.shape)}, expected (samples, classes) and "
            "(samples,) with at least 1 sample"
        )
    if bool(logits.isnan().any()) or not bool(logits.gather(1, labels[:, None]).isfinite().all()):
        raise InputError("logits are NaN, or infinite for a label, expected finite numbers: check the model")


def _check_confidence(confidence: Tensor, correct: Tensor) -> None:
    if confidence.dim() != 1 or not len(confidence) or confidence.shape != correct.shape:
        raise ShapeError(
            f"confidence is {tuple(confidence.shape)} and correct {tuple(correct.shape)}, expected (samples,) twice "
            "with at least 1 sample"
        )
    low, high = float(confidence.min()), float(confidence.max())
    if not (low >= 0 and high <= 1 + 1e-9):  # NaN included
        raise InputError(f"confidence is from {low:g} to {high:g}, expected 0 to 1")

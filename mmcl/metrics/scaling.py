"""Temperature scaling of logits and Platt scaling of confidence, fitted on validation data."""

from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from typing import TYPE_CHECKING

from mmcl.arguments import takes_tensors
from mmcl.errors import InputError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

_HIGHEST = 100.0  # the temperature is between 1 / 100 and 100
_STEPS = 60  # of the bisection, which halve an interval of logarithms to below 1e-16
_RIDGE = 1e-3  # keeps the slope of Platt scaling finite if the answers are separable


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

    check_confidence(raw, correct)
    right = int(correct.sum())
    wrong = len(correct) - right
    flat = (0.0, log((right + 1) / (wrong + 1)))
    if not right or not wrong:
        return flat
    # Both targets of each sample, weighted: a logistic regression with targets between 0 and 1.
    target = torch.where(correct, (right + 1) / (right + 2), 1 / (wrong + 2))
    odds = log_odds(raw).repeat(2)[:, None].cpu().numpy()
    weights = torch.cat([target, 1 - target]).double().cpu().numpy()
    outcomes = [1] * len(raw) + [0] * len(raw)
    fitted = LogisticRegression(C=1 / _RIDGE, max_iter=1000).fit(odds, outcomes, sample_weight=weights)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (slope, intercept) if slope > 0 else flat


@takes_tensors
def log_odds(probability: Tensor) -> Tensor:
    """Return ``log(p / (1 - p))`` of probabilities, which are clipped to [1e-9, 1 - 1e-9]."""
    clipped = probability.double().clamp(1e-9, 1 - 1e-9)
    return (clipped / (1 - clipped)).log()


@takes_tensors
def check_confidence(confidence: Tensor, correct: Tensor) -> None:
    """Check the confidence of answers, and whether they are correct.

    Raises:
        ShapeError: there is no sample, or shapes differ.
        InputError: a confidence is outside [0, 1].
    """
    if confidence.dim() != 1 or not len(confidence) or confidence.shape != correct.shape:
        raise ShapeError(
            f"confidence is {tuple(confidence.shape)} and correct {tuple(correct.shape)}, expected (samples,) twice "
            "with at least 1 sample"
        )
    low, high = float(confidence.min()), float(confidence.max())
    if not (low >= 0 and high <= 1 + 1e-9):  # NaN included
        raise InputError(f"confidence is from {low:g} to {high:g}, expected 0 to 1")


def _check_logits(logits: Tensor, labels: Tensor) -> None:
    if logits.dim() != 2 or not len(logits) or labels.shape != logits.shape[:1]:
        raise ShapeError(
            f"logits are {tuple(logits.shape)} and labels {tuple(labels.shape)}, expected (samples, classes) and "
            "(samples,) with at least 1 sample"
        )
    if bool(logits.isnan().any()) or not bool(logits.gather(1, labels[:, None]).isfinite().all()):
        raise InputError("logits are NaN, or infinite for a label, expected finite numbers: check the model")

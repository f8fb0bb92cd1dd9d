"""Metrics of continual learning, as functions of the accuracy matrix.

``matrix[t][j]`` is the accuracy on the test data of experience ``j`` after training on experience ``t``; both count
from 0. Rows and columns are equally many. All results are in the matrix's own unit (fractions give fractions).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmcl.errors import InputError, ShapeError


def seen_accuracy(matrix: ArrayLike, sizes: Sequence[int] | None = None) -> list[float]:
    """Accuracy on everything seen so far, after each experience: the mean of ``matrix[t][:t + 1]``.

    Args:
        matrix: ``(trained, experiences)``; its first rows only, while the later ones are still to come, will do.
        sizes: test samples of each experience. With them an experience counts by its size, so that the result is the
            accuracy over samples; without them all experiences count alike.

    Raises:
        ShapeError: the matrix has more rows than columns, or ``sizes`` has another length.
        InputError: sizes that are negative or not finite, or 0 of the first experience.

    >>> seen_accuracy([[1.0, 0.0], [0.5, 0.9]])
    [1.0, 0.7]
    >>> seen_accuracy([[1.0, 0.0], [0.5, 0.9]], sizes=[1, 3])
    [1.0, 0.8]
    """
    accuracy = np.asarray(matrix, dtype=float)
    if accuracy.ndim != 2 or not 0 < accuracy.shape[0] <= accuracy.shape[1]:
        raise ShapeError(f"accuracy matrix has shape {accuracy.shape}, expected (trained, experiences), none later")
    counts = np.ones(accuracy.shape[1]) if sizes is None else np.asarray(sizes, dtype=float)
    if len(counts) != accuracy.shape[1]:
        raise ShapeError(f"sizes has {len(counts)} entries, expected one per experience, {accuracy.shape[1]}")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts[0] > 0):
        raise InputError(f"sizes are {counts.tolist()[:8]}, expected 0 or more samples each, and 1 or more at first")
    return [float(np.average(row[: t + 1], weights=counts[: t + 1])) for t, row in enumerate(accuracy)]


def average_accuracy(matrix: ArrayLike, sizes: Sequence[int] | None = None) -> float:
    """Mean over experiences of the accuracy on everything seen so far: mean over t of ``seen_accuracy[t]``.

    >>> average_accuracy([[1.0, 0.0], [0.5, 0.9]])
    0.85
    """
    return float(np.mean(seen_accuracy(_square(matrix), sizes)))


def last_accuracy(matrix: ArrayLike, sizes: Sequence[int] | None = None) -> float:
    """Accuracy on everything, after the last experience: ``seen_accuracy[-1]``.

    >>> last_accuracy([[1.0, 0.0], [0.5, 0.9]])
    0.7
    """
    return seen_accuracy(_square(matrix), sizes)[-1]


def forgetting(matrix: ArrayLike) -> float:
    """Best accuracy so far minus last accuracy, averaged over all experiences but the last.

    ``mean over j < T of (max over t in [j, T) of matrix[t][j]) - matrix[T][j]`` with T the last experience; negative
    where the last is the best. 0 for a single experience, which nothing came after. Chaudhry et al. 2018, section 3.

    >>> round(forgetting([[1.0, 0.0, 0.0], [0.5, 0.9, 0.0], [0.6, 0.4, 0.8]]), 3)  # (1.0 - 0.6 + 0.9 - 0.4) / 2
    0.45
    """
    accuracy = _square(matrix)
    last = len(accuracy) - 1
    drops = [accuracy[j:last, j].max() - accuracy[last, j] for j in range(last)]
    return float(np.mean(drops)) if drops else 0.0


def backward_transfer(matrix: ArrayLike) -> float:
    """What later training did to earlier experiences: mean over j < T of ``matrix[T][j] - matrix[j][j]``.

    0 for a single experience. Lopez-Paz and Ranzato 2017, equation 3.

    >>> round(backward_transfer([[1.0, 0.0, 0.0], [0.5, 0.9, 0.0], [0.6, 0.4, 0.8]]), 3)  # (-0.4 - 0.5) / 2
    -0.45
    """
    accuracy = _square(matrix)
    changes = (accuracy[-1] - np.diagonal(accuracy))[:-1]
    return float(changes.mean()) if len(changes) else 0.0


def forward_transfer(matrix: ArrayLike, baseline: Sequence[float] | None = None) -> float:
    """What earlier training did for later experiences: mean over j > 0 of ``matrix[j - 1][j] - baseline[j]``.

    ``baseline[j]`` is the accuracy on experience j without any training, 0 if None. 0 for a single experience. A
    class-incremental model cannot name a class before it has seen it, so there the result is 0 unless its classifier
    knows all classes from the start. Lopez-Paz and Ranzato 2017, equation 4.

    >>> round(forward_transfer([[1.0, 0.2], [0.5, 0.9]], baseline=[0.1, 0.1]), 3)
    0.1
    """
    accuracy = _square(matrix)
    reference = np.zeros(len(accuracy)) if baseline is None else np.asarray(baseline, dtype=float)
    if len(reference) != len(accuracy):
        raise ShapeError(f"baseline has {len(reference)} entries, expected one per experience, {len(accuracy)}")
    gains = [accuracy[j - 1, j] - reference[j] for j in range(1, len(accuracy))]
    return float(np.mean(gains)) if gains else 0.0


def summary(matrix: ArrayLike, sizes: Sequence[int] | None = None) -> dict[str, float]:
    """Return all of the measures above by name.

    >>> measures = summary([[1.0, 0.0], [0.5, 0.9]])
    >>> list(measures), measures["forgetting"]
    (['average_accuracy', 'last_accuracy', 'forgetting', 'backward_transfer', 'forward_transfer'], 0.5)
    """
    return {
        "average_accuracy": average_accuracy(matrix, sizes),
        "last_accuracy": last_accuracy(matrix, sizes),
        "forgetting": forgetting(matrix),
        "backward_transfer": backward_transfer(matrix),
        "forward_transfer": forward_transfer(matrix),
    }


def _square(matrix: ArrayLike) -> NDArray[np.float64]:
    accuracy = np.asarray(matrix, dtype=float)
    if accuracy.ndim != 2 or accuracy.shape[0] != accuracy.shape[1] or accuracy.size == 0:
        raise ShapeError(
            f"accuracy matrix has shape {accuracy.shape}, expected (experiences, experiences): "
            "one row after each experience, one column per experience"
        )
    return accuracy

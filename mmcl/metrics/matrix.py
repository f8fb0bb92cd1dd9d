"""Continual learning metrics as functions of the accuracy matrix.

``matrix[t][j]`` is the accuracy on the test data of experience ``j`` after training on experience ``t``, both counted
from 0. The matrix is square. Cells may be None or nan, and rows may be short, if a metric does not need the missing
cells: all metrics but forward transfer need ``j <= t`` only. Results have the unit of the matrix (fractions give
fractions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mmcl.errors import InputError, ShapeError

Rows = ArrayLike | Sequence[Sequence[float | None]]


def seen_accuracy(matrix: Rows, sizes: Sequence[int] | None = None) -> list[float]:
    """Accuracy on all classes seen so far, after each experience: mean of ``matrix[t][:t + 1]``.

    Args:
        matrix: ``(trained, experiences)``; during training, the first rows are enough.
        sizes: number of test samples per experience. If given, experiences are weighted by size, so the result is the
            accuracy over samples; otherwise all experiences have the same weight.

    Raises:
        ShapeError: the matrix has more rows than columns, or ``sizes`` has another length.
        InputError: sizes are negative or not finite, or the first is 0; or a required cell is missing (the message
            names the first).

    >>> seen_accuracy([[1.0], [0.5, 0.9]])
    [1.0, 0.7]
    >>> seen_accuracy([[1.0, 0.0], [0.5, 0.9]], sizes=[1, 3])
    [1.0, 0.8]
    """
    accuracy = _filled(matrix)
    if not 0 < accuracy.shape[0] <= accuracy.shape[1]:
        raise ShapeError(f"accuracy matrix has shape {accuracy.shape}, expected (trained, experiences), none later")
    counts = _counts(sizes, accuracy.shape[1])
    _check_there(accuracy, np.tril(np.ones_like(accuracy, dtype=bool)), "accuracy on what has been seen")
    return [float(np.average(row[: t + 1], weights=counts[: t + 1])) for t, row in enumerate(accuracy)]


def average_accuracy(matrix: Rows, sizes: Sequence[int] | None = None) -> float:
    """Mean over experiences of the accuracy on all classes seen so far: mean over t of ``seen_accuracy[t]``.

    >>> average_accuracy([[1.0], [0.5, 0.9]])
    0.85
    """
    return float(np.mean(seen_accuracy(_square(matrix), sizes)))


def last_accuracy(matrix: Rows, sizes: Sequence[int] | None = None) -> float:
    """Accuracy on all classes after the last experience: ``seen_accuracy[-1]``, which needs the last row only.

    Without sizes, the average accuracy of Lopez-Paz and Ranzato 2017, equation 2.

    >>> last_accuracy([[1.0], [0.5, 0.9]])
    0.7
    """
    accuracy = _square(matrix)
    needed = np.zeros_like(accuracy, dtype=bool)
    needed[-1] = True
    _check_there(accuracy, needed, "last accuracy")
    return float(np.average(accuracy[-1], weights=_counts(sizes, len(accuracy))))


def forgetting(matrix: Rows) -> float:
    """Best earlier accuracy minus last accuracy, averaged over all experiences but the last.

    ``mean over j < T of (max over t in [j, T) of matrix[t][j]) - matrix[T][j]``, where T is the last experience. It is
    negative if the last accuracy is the best, and 0 for a single experience. Chaudhry et al. 2018, section 3.

    >>> round(forgetting([[1.0], [0.5, 0.9], [0.6, 0.4, 0.8]]), 3)  # (1.0 - 0.6 + 0.9 - 0.4) / 2
    0.45
    """
    accuracy = _square(matrix)
    last = len(accuracy) - 1
    needed = np.tril(np.ones_like(accuracy, dtype=bool))
    needed[last, last] = False
    _check_there(accuracy, needed, "forgetting")
    drops = [accuracy[j:last, j].max() - accuracy[last, j] for j in range(last)]
    return float(np.mean(drops)) if drops else 0.0


def backward_transfer(matrix: Rows) -> float:
    """Effect of later training on earlier experiences: mean over j < T of ``matrix[T][j] - matrix[j][j]``.

    0 for a single experience. Lopez-Paz and Ranzato 2017, equation 3.

    >>> round(backward_transfer([[1.0], [0.5, 0.9], [0.6, 0.4, 0.8]]), 3)  # (-0.4 - 0.5) / 2
    -0.45
    """
    accuracy = _square(matrix)
    last = len(accuracy) - 1
    needed = np.eye(last + 1, dtype=bool)
    needed[last] = np.arange(last + 1) < last
    _check_there(accuracy, needed, "backward transfer")
    changes = (accuracy[-1] - np.diagonal(accuracy))[:-1]
    return float(changes.mean()) if len(changes) else 0.0


def forward_transfer(matrix: Rows, baseline: Sequence[float | None] | None = None) -> float:
    """Effect of earlier training on later experiences: mean over j > 0 of ``matrix[j - 1][j] - baseline[j]``.

    ``baseline[j]`` is the accuracy on experience j without training, 0 if None; ``baseline[0]`` is not used. 0 for a
    single experience. A class-incremental model cannot predict unseen classes, so the result is 0 unless its classifier
    has all classes from the start. Lopez-Paz and Ranzato 2017, equation 4.

    >>> round(forward_transfer([[1.0, 0.2], [0.5, 0.9]], baseline=[0.1, 0.1]), 3)
    0.1
    """
    accuracy = _square(matrix)
    count = len(accuracy)
    reference = np.zeros(count) if baseline is None else np.array(baseline, dtype=float)
    if reference.shape != (count,):
        raise ShapeError(f"baseline has {reference.size} entries, expected one per experience, {count}")
    _check_there(accuracy, np.eye(count, k=1, dtype=bool), "forward transfer")
    if not np.isfinite(reference[1:]).all():
        number = int((~np.isfinite(reference[1:])).argmax()) + 1
        raise InputError(f"forward transfer needs the baseline of experience {number}: evaluate it before training")
    gains = [accuracy[j - 1, j] - reference[j] for j in range(1, count)]
    return float(np.mean(gains)) if gains else 0.0


def summary(
    matrix: Rows, sizes: Sequence[int] | None = None, baseline: Sequence[float | None] | None = None
) -> dict[str, float]:
    """Return all metrics above by name; forward transfer is nan if the matrix lacks cells for it.

    ``baseline`` is that of :func:`forward_transfer`.

    >>> measures = summary([[1.0], [0.5, 0.9]])
    >>> list(measures), measures["forgetting"]
    (['average_accuracy', 'last_accuracy', 'forgetting', 'backward_transfer', 'forward_transfer'], 0.5)
    """
    accuracy = _square(matrix)
    ahead = np.diagonal(accuracy, 1)
    return {
        "average_accuracy": average_accuracy(accuracy, sizes),
        "last_accuracy": last_accuracy(accuracy, sizes),
        "forgetting": forgetting(accuracy),
        "backward_transfer": backward_transfer(accuracy),
        "forward_transfer": float("nan") if np.isnan(ahead).any() else forward_transfer(accuracy, baseline),
    }


def _counts(sizes: Sequence[int] | None, experiences: int) -> NDArray[np.float64]:
    counts = np.ones(experiences) if sizes is None else np.asarray(sizes, dtype=float)
    if counts.shape != (experiences,):
        raise ShapeError(f"sizes has {counts.size} entries, expected one per experience, {experiences}")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts[0] > 0):
        raise InputError(f"sizes are {counts.tolist()[:8]}, expected 0 or more samples each, and 1 or more at first")
    return counts


def _filled(matrix: Any) -> NDArray[np.float64]:
    """Return the matrix as an array with nan in missing cells."""
    if isinstance(matrix, np.ndarray) and matrix.dtype != object:
        accuracy = matrix.astype(float)
    else:
        try:
            parts = [np.array(list(row), dtype=float) for row in matrix]  # None becomes nan
        except (TypeError, ValueError) as error:
            raise ShapeError(
                f"the accuracy matrix is not rows of numbers ({error}), expected (experiences, experiences)"
            ) from None
        if any(part.ndim != 1 for part in parts):
            raise ShapeError("the accuracy matrix has more than two dimensions, expected (experiences, experiences)")
        accuracy = np.full((len(parts), max(map(len, parts), default=0)), np.nan)
        for row, part in zip(accuracy, parts, strict=True):
            row[: len(part)] = part
    if accuracy.ndim != 2:
        raise ShapeError(f"accuracy matrix has shape {accuracy.shape}, expected (experiences, experiences)")
    return accuracy


def _square(matrix: Rows) -> NDArray[np.float64]:
    accuracy = _filled(matrix)
    if accuracy.shape[0] != accuracy.shape[1] or accuracy.size == 0:
        raise ShapeError(
            f"accuracy matrix has shape {accuracy.shape}, expected (experiences, experiences): "
            "one row after each experience, one column per experience"
        )
    return accuracy


def _check_there(accuracy: NDArray[np.float64], needed: NDArray[np.bool_], what: str) -> None:
    lacking = np.argwhere(needed & ~np.isfinite(accuracy))
    if len(lacking):
        t, j = (int(place) for place in lacking[0])
        raise InputError(
            f"{what} needs the accuracy on experience {j} after training on experience {t}, which is "
            f"{accuracy[t, j]} ({len(lacking)} such cells): evaluate on it there"
        )

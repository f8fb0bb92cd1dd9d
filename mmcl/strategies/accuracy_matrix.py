"""AccuracyMatrix: a plugin that records accuracy by trained and evaluated experience."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmcl import distributed
from mmcl.strategies.after_training import AfterTraining

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class AccuracyMatrix(AfterTraining):
    """Record the accuracy on each experience, and on each class, at every ``strategy.eval``.

    The cell ``matrix[t][j]`` is the accuracy on experience ``j`` after training on experience ``t``, in any order of
    evaluation. Evaluating again overwrites a cell. :mod:`mmcl.metrics.matrix` computes metrics from the matrix.

    Args:
        stream: name of the stream whose experiences are the columns; others are ignored.

    Attributes:
        baseline: accuracy on each experience before any training, for :func:`~mmcl.metrics.forward_transfer`; empty
            if nothing was evaluated then.
        sizes: number of test samples of each experience; 0 for one that has not been evaluated.
    """

    def __init__(self, stream: str = "test") -> None:
        super().__init__(stream)
        self.sizes: list[int] = []
        self._rows: dict[int, list[float]] = {}  # last trained experience (-1 before any) -> accuracies
        self._classes: dict[int, dict[int, float]] = {}  # last trained experience -> label -> accuracy
        self._correct: Counter[int] = Counter()  # by label, in the current experience
        self._total: Counter[int] = Counter()
        self._passed: tuple[Counter[int], Counter[int]] = Counter(), Counter()  # the same over one evaluation

    @property
    def matrix(self) -> list[list[float]]:
        """Accuracies after each experience, up to the last one that an evaluation followed.

        A cell without an evaluation is nan. Before any training, the only row is the baseline.
        """
        last = max(self._rows, default=-1)
        if last < 0:
            return [self.baseline] if self._rows else []
        return [self._padded(self._rows.get(row, [])) for row in range(last + 1)]

    @property
    def baseline(self) -> list[float]:
        """Accuracy on each experience before any training."""
        return self._padded(self._rows[-1]) if -1 in self._rows else []

    @property
    def per_class(self) -> list[dict[int, float]]:
        """Accuracy by label, for each row of ``matrix``."""
        last = max(self._classes, default=-1)
        if last < 0:
            return [dict(row) for row in self._classes.values()]
        return [dict(self._classes.get(row, {})) for row in range(last + 1)]

    def before_eval(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Clear the counts over experiences, in which a class may have several domains."""
        self._passed = Counter(), Counter()

    def before_eval_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Clear the counts."""
        self._correct, self._total = Counter(), Counter()

    def after_eval_iteration(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Count the samples of each label, and the correct predictions."""
        if not self.is_scored(strategy.experience):
            return
        labels, logits = strategy.mb_y, strategy.mb_output
        correct = labels[correct_predictions(logits, labels)]
        for counter, values in ((self._correct, correct), (self._total, labels)):
            found, counts = torch.unique(values, return_counts=True)
            counter.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))

    def after_eval_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Fill the cell of this experience from the counts of all processes."""
        if not self.is_scored(strategy.experience):
            return
        correct, total = (
            sum(distributed.all_gather_object(counter), Counter()) for counter in (self._correct, self._total)
        )
        if not total:
            return
        number = int(strategy.experience.current_experience)
        stream = getattr(strategy.experience, "origin_stream", ())
        width = max(number + 1, len(stream), len(self.sizes))
        self.sizes += [0] * (width - len(self.sizes))
        self.sizes[number] = sum(total.values())
        row = self._rows[self.trained] = self._padded(self._rows.get(self.trained, []))
        row[number] = sum(correct.values()) / sum(total.values())
        classes = self._classes.setdefault(self.trained, {})
        all_correct, all_total = self._passed
        all_correct.update(correct)
        all_total.update(total)
        classes |= {label: all_correct[label] / all_total[label] for label in sorted(total)}

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return all rows."""
        labels = [list(row) for row in self._classes.values()]
        if all(row == labels[0] for row in labels):
            labels = labels[:1]
        accuracies = [list(row.values()) for row in self._classes.values()]
        packed: dict[str, list[list[Any]]] = {
            "matrix": list(self._rows.values()),
            "labels": labels,
            "per_class": accuracies,
        }
        places = {"trained": self.trained, "rows": list(self._rows)}
        return {**{name: _pack(rows) for name, rows in packed.items()}, "sizes": list(self.sizes), **places}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore all rows."""
        matrix, self.sizes = _unpack(state["matrix"]), list(state["sizes"])
        labels, accuracies = _unpack(state["labels"]), _unpack(state["per_class"])
        if len(labels) == 1:
            labels = labels * len(accuracies)
        rows = state.get("rows", range(len(matrix)))  # older states have one row after each experience
        self.trained = state.get("trained", len(matrix) - 1)
        self._rows = dict(zip(rows, matrix, strict=True))
        per_class = (dict(zip(*row, strict=True)) for row in zip(labels, accuracies, strict=True))
        self._classes = dict(zip(rows, per_class, strict=True))

    def _padded(self, row: list[float]) -> list[float]:
        return row + [float("nan")] * (len(self.sizes) - len(row))


def correct_predictions(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether each prediction is correct, boolean ``(batch,)``.

    >>> correct_predictions(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).tolist()
    [True, False]
    """
    if not logits.shape[1]:
        return torch.zeros_like(labels, dtype=torch.bool)
    best, predictions = logits.max(1)
    # A logit of minus infinity belongs to a class that has not arrived.
    return (predictions == labels) & (best > -torch.inf)


def _pack(rows: list[list[Any]]) -> dict[str, Any]:
    """Pack rows into one tensor; with a thousand experiences, it is written much faster than lists."""
    numbers = [number for row in rows for number in row]
    dtype = torch.long if numbers and isinstance(numbers[0], int) else torch.float64
    return {"numbers": torch.tensor(numbers, dtype=dtype), "lengths": [len(row) for row in rows]}


def _unpack(packed: dict[str, Any]) -> list[list[Any]]:
    return [row.tolist() for row in packed["numbers"].split(packed["lengths"])]

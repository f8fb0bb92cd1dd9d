"""AccuracyMatrix: the Avalanche plugin that fills the matrix which :mod:`mmcl.metrics.matrix` reads."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from mmcl import ranks


class AccuracyMatrix(SupervisedPlugin):
    """Note the accuracy on each experience, and on each class, at every ``strategy.eval(benchmark.test_stream)``.

    Attributes:
        matrix: one row per evaluation, one entry per experience evaluated.
        sizes: test samples of each experience.
        per_class: one dictionary per evaluation, label -> accuracy.
    """

    def __init__(self) -> None:
        super().__init__()
        self.matrix: list[list[float]] = []
        self.sizes: list[int] = []
        self.per_class: list[dict[int, float]] = []
        self._correct: Counter[int] = Counter()
        self._total: Counter[int] = Counter()

    def before_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Start a row."""
        self._row: list[float] = []
        self._sizes: list[int] = []
        self._classes: dict[int, float] = {}

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Start an entry."""
        self._correct, self._total = Counter(), Counter()

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Count what was right."""
        labels = strategy.mb_y
        right = labels[strategy.mb_output.argmax(1) == labels]
        for counter, values in ((self._correct, right), (self._total, labels)):
            found, times = torch.unique(values, return_counts=True)
            counter.update(dict(zip(found.tolist(), times.tolist(), strict=True)))

    def after_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Finish the entry."""
        self._correct, self._total = (
            sum(ranks.everyones(counter), Counter()) for counter in (self._correct, self._total)
        )
        self._row.append(sum(self._correct.values()) / sum(self._total.values()))
        self._sizes.append(sum(self._total.values()))
        self._classes |= {label: self._correct[label] / total for label, total in sorted(self._total.items())}

    def after_eval(self, strategy: Any, **kwargs: Any) -> None:
        """Finish the row."""
        self.matrix.append(self._row)
        self.sizes = self._sizes
        self.per_class.append(self._classes)

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """All rows so far."""
        labels = [list(row) for row in self.per_class]
        if all(row == labels[0] for row in labels):
            labels = labels[:1]
        accuracies = [list(row.values()) for row in self.per_class]
        packed = {"matrix": _pack(self.matrix), "labels": _pack(labels), "per_class": _pack(accuracies)}
        return {**packed, "sizes": self.sizes}

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up rows that :meth:`state_dict` gave."""
        self.matrix, self.sizes = _unpack(state["matrix"]), list(state["sizes"])
        labels, accuracies = _unpack(state["labels"]), _unpack(state["per_class"])
        if len(labels) == 1:
            labels = labels * len(accuracies)
        self.per_class = [dict(zip(*row, strict=True)) for row in zip(labels, accuracies, strict=True)]


def _pack(rows: list[list[Any]]) -> dict[str, Any]:
    """Rows as one tensor, which is written much faster than lists where there are a thousand experiences."""
    numbers = [number for row in rows for number in row]
    dtype = torch.long if numbers and isinstance(numbers[0], int) else torch.float64
    return {"numbers": torch.tensor(numbers, dtype=dtype), "lengths": [len(row) for row in rows]}


def _unpack(packed: dict[str, Any]) -> list[list[Any]]:
    return [row.tolist() for row in packed["numbers"].split(packed["lengths"])]

"""What the rows of one or several runs say: mean and deviation over seeds, for each strategy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from mmcl.reports.row_types import checked_rows
from mmcl.runs.run import Run

#: What a row of kind "result" holds: fractions, which are shown in percent, and a time in seconds. Rates of errors and
#: SLU-F1 are of models that write what they understand, and like accuracies over what has been seen so far.
MEASURES = {
    "average_accuracy": "average accuracy",
    "last_accuracy": "last accuracy",
    "word_error_rate": "word error rate",
    "sequence_error_rate": "sequence error rate",
    "slu_f1": "SLU-F1",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "forward_transfer": "forward transfer",
    "seconds": "time (s)",
}
_OFTEN_ZERO = ("forgetting", "backward_transfer", "forward_transfer")


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its sample standard deviation (n - 1), which one seed does not have."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Estimate | None:
        """Estimate from values of several seeds, without those that are missing or not finite; None if all are.

        >>> Estimate.of([0.5, 0.7, None])
        Estimate(mean=0.6, deviation=0.1414...)
        """
        there = [value for value in values if value is not None and isfinite(value)]
        return cls(fmean(there), stdev(there) if len(there) > 1 else None) if there else None

    def text(self, scale: float = 100.0) -> str:
        """Write as mean ± deviation with one decimal, in percent unless ``scale`` says otherwise.

        >>> Estimate(0.8123, 0.0204).text(), Estimate(0.8123, None).text()
        ('81.2 ± 2.0', '81.2 ± -')
        """
        deviation = "-" if self.deviation is None else f"{self.deviation * scale:.1f}"
        return f"{self.mean * scale:.1f} ± {deviation}"


@dataclass(frozen=True)
class StrategyResults:
    """The rows of one strategy in one run.

    ``label`` names it among the others, ``seeds`` are those begun; rows are by seed, evaluations also by experience.
    """

    label: str
    strategy: str
    run: str
    seeds: list[int]
    results: dict[int, dict[str, Any]]
    evaluations: dict[int, dict[int, dict[str, Any]]]
    streams: dict[int, dict[str, Any]]

    def measure(self, name: str) -> Estimate | None:
        """Estimate one of :data:`MEASURES`, or of a task's own, from the seeds that are done."""
        return Estimate.of({**row.get("measures", {}), **row}.get(name) for row in self.results.values())

    def own_measures(self) -> list[str]:
        """Names of the measures that the task has beside :data:`MEASURES`: fractions in a row's ``measures``."""
        return list(dict.fromkeys(name for row in self.results.values() for name in row.get("measures", {})))

    def accuracy_by_classes(self) -> dict[int, Estimate]:
        """Accuracy on what was seen so far, by the number of classes seen (or of experiences, where none is logged)."""
        values: dict[int, list[float]] = {}
        for seed, rows in self.evaluations.items():
            for experience, row in sorted(rows.items()):
                if row.get("seen_accuracy") is not None:
                    values.setdefault(self._classes_seen(seed, experience), []).append(row["seen_accuracy"])
        return {classes: estimate for classes in sorted(values) if (estimate := Estimate.of(values[classes]))}

    def matrix(self) -> list[list[float | None]]:
        """Mean over seeds of the accuracy on each experience (column) after training on each (row)."""
        last = max((experience for rows in self.evaluations.values() for experience in rows), default=-1)
        size = max((len(row["accuracy"]) for rows in self.evaluations.values() for row in rows.values()), default=0)
        return [
            [
                estimate.mean if (estimate := Estimate.of(self._accuracies(experience, column))) else None
                for column in range(size)
            ]
            for experience in range(last + 1)
        ]

    def forgetting_by_class(self) -> dict[str, float]:
        """Best accuracy so far minus last, mean over seeds, for each class that something was learnt after."""
        drops: dict[str, list[float]] = {}
        for seed, rows in self.evaluations.items():
            learnt_in = {name: i for i, names in enumerate(self._experiences(seed)) for name in names}
            *earlier, last = [rows[experience] for experience in sorted(rows)]
            for name, accuracy in last.get("per_class", {}).items():
                since = [row for row in earlier if row["experience"] >= learnt_in.get(name, 0)]
                before = [row["per_class"][name] for row in since if name in row.get("per_class", {})]
                if before:
                    drops.setdefault(name, []).append(max(before) - accuracy)
        return {name: fmean(values) for name, values in drops.items()}

    def _experiences(self, seed: int) -> list[list[str]]:
        return self.streams.get(seed, {}).get("experiences", [])

    def _classes_seen(self, seed: int, experience: int) -> int:
        return sum(len(names) for names in self._experiences(seed)[: experience + 1]) or experience + 1

    def _accuracies(self, experience: int, column: int) -> list[float | None]:
        rows = [
            by_experience[experience]["accuracy"]
            for by_experience in self.evaluations.values()
            if experience in by_experience
        ]
        return [row[column] for row in rows if column < len(row)]


def collect(runs: Sequence[Run | str | Path]) -> list[StrategyResults]:
    """Read the rows of runs, a strategy of a run each, in the order in which they were trained.

    Raises:
        RunError: a row is not what was logged.
    """
    opened = [run if isinstance(run, Run) else Run.read(run) for run in runs]
    collected = []
    for run, name in zip(opened, run_names(opened), strict=True):
        rows = checked_rows(run)
        for strategy in dict.fromkeys(row["strategy"] for row in rows if row.get("strategy") is not None):
            own = [row for row in rows if row.get("strategy") == strategy]
            evaluations: dict[int, dict[int, dict[str, Any]]] = {}
            for row in own:
                if row["kind"] == "evaluation":
                    evaluations.setdefault(row["seed"], {})[row["experience"]] = row
            results = {row["seed"]: row for row in own if row["kind"] == "result"}
            streams = {row["seed"]: row for row in own if row["kind"] == "stream"}
            label = strategy if len(opened) == 1 else f"{name}/{strategy}"
            seeds = list(dict.fromkeys(row["seed"] for row in own))
            collected.append(StrategyResults(label, strategy, name, seeds, results, evaluations, streams))
    return collected


def run_names(runs: Sequence[Run]) -> list[str]:
    """Name runs by their folders, with as many parents as it takes to tell them apart.

    >>> run_names([Run(Path("a/demo")), Run(Path("b/demo")), Run(Path("b/tiny"))])
    ['a/demo', 'b/demo', 'b/tiny']
    """
    parts = [run.folder.resolve().parts if not run.folder.is_absolute() else run.folder.parts for run in runs]
    length = 1
    while len({names[-length:] for names in parts}) < len(set(parts)):
        length += 1
    return ["/".join(names[-length:]) for names in parts]


def table_rows(strategies: Sequence[StrategyResults]) -> tuple[list[str], list[list[str]]]:
    """Lay out the measures as text: the headings, and one row for each strategy.

    A measure that is missing everywhere has no column, nor has one of transfer that is 0 everywhere (such as forward
    transfer, where no class is known early).
    """
    own = dict.fromkeys(name for each in strategies for name in each.own_measures())
    headings = {**{name: name for name in own}, **MEASURES}
    estimates = {name: [each.measure(name) for each in strategies] for name in headings}
    there = {name: [estimate.mean for estimate in column if estimate] for name, column in estimates.items()}
    shown = [name for name, means in there.items() if any(means) or (means and name not in _OFTEN_ZERO)]
    rows = []
    for number, each in enumerate(strategies):
        done = len(each.results)
        seeds = str(done) if done == len(each.seeds) else f"{done} of {len(each.seeds)}"
        cells = [(estimates[name][number], 1.0 if name == "seconds" else 100.0) for name in shown]
        rows.append([each.label, seeds, *(estimate.text(scale) if estimate else "-" for estimate, scale in cells)])
    heading = "run/strategy" if any("/" in each.label for each in strategies) else "strategy"
    return [heading, "seeds", *(headings[name] for name in shown)], rows

"""Results of runs grouped by strategy, with the mean and standard deviation over seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from pathlib import Path
from statistics import fmean, stdev

from mmcl.reports.row_types import (
    DECIMALS,
    MEASURES,
    SCALES,
    EvaluationRow,
    ResultRow,
    Row,
    RowT,
    Seed,
    StreamRow,
    read_metrics,
    rows_of_type,
)
from mmcl.runs.run import Run

_OFTEN_ZERO = ("forgetting", "backward_transfer", "forward_transfer")


@dataclass(frozen=True)
class MeanStd:
    """A mean over seeds and its sample standard deviation (n - 1), which is None for a single seed."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> MeanStd | None:
        """Compute both from one value per seed, ignoring None, NaN and infinity; None if no value is left.

        >>> MeanStd.of([0.5, 0.7, None])
        MeanStd(mean=0.6, std=0.1414...)
        """
        finite = [value for value in values if value is not None and isfinite(value)]
        return cls(fmean(finite), stdev(finite) if len(finite) > 1 else None) if finite else None

    def text(self, scale: float = 100.0, decimals: int = 1) -> str:
        """Format as mean ± deviation, by default in percent with one decimal; a single seed has no deviation.

        >>> MeanStd(0.8123, 0.0204).text(), MeanStd(0.8123, None).text()
        ('81.2 ± 2.0', '81.2')
        """
        deviation = "" if self.std is None else f" ± {self.std * scale:.{decimals}f}"
        return f"{self.mean * scale:.{decimals}f}{deviation}"


@dataclass(frozen=True)
class StrategyResults:
    """The rows of one strategy in one run. ``label`` is unique among all strategies of a report."""

    label: str
    strategy: str
    run: str
    rows: list[Row]

    def of_type(self, row_type: type[RowT]) -> list[RowT]:
        """Return the rows of one type."""
        return rows_of_type(self.rows, row_type)

    @cached_property
    def seeds(self) -> list[Seed]:
        """Seeds that have at least one row."""
        return list(dict.fromkeys(row.seed for row in self.rows if row.seed is not None))

    @cached_property
    def results(self) -> dict[Seed, ResultRow]:
        """Final measures by seed."""
        return {row.seed: row for row in self.of_type(ResultRow)}

    @cached_property
    def evaluations(self) -> dict[Seed, dict[int, EvaluationRow]]:
        """Evaluations by seed and experience."""
        by_seed: dict[Seed, dict[int, EvaluationRow]] = {}
        for row in self.of_type(EvaluationRow):
            by_seed.setdefault(row.seed, {})[row.experience] = row
        return by_seed

    @cached_property
    def streams(self) -> dict[Seed, StreamRow]:
        """Streams by seed."""
        return {row.seed: row for row in self.of_type(StreamRow) if row.seed is not None}

    def measure(self, name: str) -> MeanStd | None:
        """Average a measure over the seeds that have finished."""
        return MeanStd.of(row.values.get(name) for row in self.results.values())

    def own_measures(self) -> list[str]:
        """Return the names of the measures that only this task logs."""
        return list(dict.fromkeys(name for row in self.results.values() for name in row.measures))

    def accuracy_by_classes(self) -> dict[int, MeanStd]:
        """Average the accuracy on all classes seen so far, by their number; on domains where domains arrive.

        The key is the number of experiences if the stream was not logged.
        """
        values: dict[int, list[float]] = {}
        for seed, rows in self.evaluations.items():
            for experience, row in sorted(rows.items()):
                if row.seen_accuracy is not None:
                    values.setdefault(self._seen(seed, experience), []).append(row.seen_accuracy)
        return {classes: average for classes in sorted(values) if (average := MeanStd.of(values[classes]))}

    def matrix(self) -> list[list[float | None]]:
        """Average the accuracy on each experience (column) after training on each experience (row)."""
        last = max((experience for rows in self.evaluations.values() for experience in rows), default=-1)
        size = max((len(row.accuracy) for rows in self.evaluations.values() for row in rows.values()), default=0)
        return [
            [
                average.mean if (average := MeanStd.of(self._accuracies(experience, column))) else None
                for column in range(size)
            ]
            for experience in range(last + 1)
        ]

    def forgetting_by_class(self) -> dict[str, float]:
        """Return best minus last accuracy of each class, averaged over seeds.

        The best accuracy is taken from the class's own experience on. Classes of the last experience are left out.
        """
        drops: dict[str, list[float]] = {}
        for seed, rows in self.evaluations.items():
            learned_in = {name: i for i, names in enumerate(self._experiences(seed)) for name in names}
            *earlier, last = [rows[experience] for experience in sorted(rows)]
            for name, accuracy in last.per_class.items():
                since = [row for row in earlier if row.experience >= learned_in.get(name, 0)]
                before = [row.per_class[name] for row in since if name in row.per_class]
                if before:
                    drops.setdefault(name, []).append(max(before) - accuracy)
        return {name: fmean(values) for name, values in drops.items()}

    def _experiences(self, seed: Seed) -> list[list[str]]:
        return self.streams[seed].experiences if seed in self.streams else []

    def _seen(self, seed: Seed, experience: int) -> int:
        """Return the number of classes that have arrived, or of domains where domains arrive."""
        domains = self.streams[seed].domains if seed in self.streams else []
        arrived = (domains or self._experiences(seed))[: experience + 1]
        return sum(len(names) for names in arrived) or experience + 1

    def _accuracies(self, experience: int, column: int) -> list[float | None]:
        rows = [by_experience[experience] for by_experience in self.evaluations.values() if experience in by_experience]
        return [row.accuracy[column] for row in rows if column < len(row.accuracy)]


def collect(runs: Sequence[Run | str | Path]) -> list[StrategyResults]:
    """Read runs and group their rows by run and strategy, in training order.

    Raises:
        RunError: A row is invalid.
    """
    opened = [run if isinstance(run, Run) else Run.read(run) for run in runs]
    collected = []
    for run, name in zip(opened, run_names(opened), strict=True):
        collected += by_strategy(read_metrics(run), name, f"{name}/" if len(opened) > 1 else "")
    return collected


def by_strategy(rows: Iterable[Row], run: str, prefix: str = "") -> list[StrategyResults]:
    """Group the rows of one run by strategy. Labels are the names of the strategies after ``prefix``."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if row.strategy is not None:
            groups.setdefault(row.strategy, []).append(row)
    return [StrategyResults(prefix + strategy, strategy, run, group) for strategy, group in groups.items()]


def run_names(runs: Sequence[Run]) -> list[str]:
    """Name runs by their folders, with as many parent folders as needed to tell them apart.

    >>> run_names([Run(Path("a/demo")), Run(Path("b/demo")), Run(Path("b/tiny"))])
    ['a/demo', 'b/demo', 'b/tiny']
    """
    parts = [run.folder.resolve().parts if not run.folder.is_absolute() else run.folder.parts for run in runs]
    length = 1
    while len({names[-length:] for names in parts}) < len(set(parts)):
        length += 1
    return ["/".join(names[-length:]) for names in parts]


def measures_shown(strategies: Sequence[StrategyResults]) -> dict[str, str]:
    """Return the headings of the measures that a table shows, by name.

    Measures without any value are left out. So are forgetting and transfer if they are 0 everywhere.
    """
    own = dict.fromkeys(name for each in strategies for name in each.own_measures())
    shown = {}
    for name, heading in {**{name: name for name in own}, **MEASURES}.items():
        means = [average.mean for each in strategies if (average := each.measure(name))]
        if any(means) or (means and name not in _OFTEN_ZERO):
            shown[name] = heading
    return shown


def table_rows(strategies: Sequence[StrategyResults]) -> tuple[list[str], list[list[str]]]:
    """Return the results table as text: headings, and one row per strategy.

    See :func:`measures_shown` and :func:`mean_ranks`.
    """
    shown = measures_shown(strategies)
    rows, ranks = [], mean_ranks(strategies)
    for each in strategies:
        finished = len(each.results)
        seeds = str(finished) if finished == len(each.seeds) else f"{finished} of {len(each.seeds)}"
        cells = [(each.measure(name), SCALES.get(name, 100.0), DECIMALS.get(name, 1)) for name in shown]
        texts = [average.text(scale, decimals) if average else "-" for average, scale, decimals in cells]
        if ranks:
            texts.insert(0, ranks[each.label].text(1.0) if each.label in ranks else "-")
        rows.append([each.label, seeds, *texts])
    headings = [*(["rank"] if ranks else []), *shown.values()]
    heading = "run/strategy" if any("/" in each.label for each in strategies) else "strategy"
    return [heading, "seeds", *headings], rows


def mean_ranks(strategies: Sequence[StrategyResults]) -> dict[str, MeanStd]:
    """Rank the strategies of each run by last accuracy, and average over the seeds that all of them have finished.

    The best has rank 1, and equal accuracies share the mean of their ranks. Runs with fewer than three strategies have
    no ranks.
    """
    ranks: dict[str, MeanStd] = {}
    for run in dict.fromkeys(each.run for each in strategies):
        group = list({each.strategy: each for each in reversed(strategies) if each.run == run}.values())
        accuracies = [
            {seed: row.last_accuracy for seed, row in each.results.items() if row.last_accuracy is not None}
            for each in group
        ]
        seeds = [seed for seed in accuracies[0] if all(seed in each for each in accuracies)]
        if len(group) < 3 or not seeds:
            continue
        for each, own in zip(group, accuracies, strict=True):
            found = []
            for seed in seeds:
                others = [other[seed] for other in accuracies]
                above, equal = sum(value > own[seed] for value in others), others.count(own[seed])
                found.append(above + (equal + 1) / 2)
            average = MeanStd.of(found)
            if average:
                ranks[each.label] = average
    return ranks

"""The figure of accuracy against memory."""

from __future__ import annotations

import re

from mmcl.reports.figures.memory import accuracy_against_memory
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import ResultRow


def strategy(name: str, kept: float | None, accuracy: float = 0.5) -> StrategyResults:
    rows = [
        ResultRow(kind="result", strategy=name, seed=seed, last_accuracy=accuracy + 0.1 * seed, memory_bytes=kept)
        for seed in (0, 1)
    ]
    return StrategyResults(f"run/{name}", name, "run", list(rows))


def test_strategies_are_named_and_axes_labelled() -> None:
    svg = accuracy_against_memory([strategy("naive", 0.0), strategy("replay", 4096.0), strategy("slda", 1e7)])
    words = set(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
    assert {"run/naive", "run/replay", "run/slda", "last accuracy (%)", "exemplars and statistics kept (KiB)"} <= words


def test_one_strategy_or_runs_without_the_measure_have_no_figure() -> None:
    assert accuracy_against_memory([strategy("replay", 4096.0)]) == ""
    assert accuracy_against_memory([strategy("naive", None), strategy("replay", None)]) == ""

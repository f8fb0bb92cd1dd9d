"""The figure of accuracy against memory."""

from __future__ import annotations

import itertools
import re

from mmcl.reports.figures.memory import accuracy_against_memory, label_places
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


def test_labels_of_equal_memories_do_not_cover_each_other() -> None:
    points = {f"strategy {row}": (0.2, 0.5 + 0.01 * (row % 3)) for row in range(12)} | {"other": (0.25, 0.5)}
    places = label_places(points)
    heights = sorted(y for label, (_, y) in places.items() if label != "other")
    assert all(above - below > 0.039 for below, above in itertools.pairwise(heights))
    assert all(0 < y < 1 and x > points[label][0] for label, (x, y) in places.items())
    boxes = [y for label, (_, y) in places.items() if label != "other"]
    assert all(abs(y - points["other"][1]) > 0.02 for y in boxes)  # its marker is right of their labels' start


def test_more_labels_than_there_is_room_for_stay_beside_their_points() -> None:
    places = label_places({str(row): (0.2, 0.5) for row in range(60)})
    assert len(places) == 60 and all(0 < y < 1 for _, y in places.values())

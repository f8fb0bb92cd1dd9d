"""Figures of class-incremental tasks: numbers at the right places, and no change to matplotlib's state."""

from __future__ import annotations

import re
import sys

import matplotlib

from mmcl.reports.drawing import strategy_colours
from mmcl.reports.figures import classes as figures
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import EvaluationRow, Row, StreamRow


def strategy(name: str, run: str = "run", seeds: int = 1, experiences: int = 3, drop: float = 0.25) -> StrategyResults:
    """Make accuracy 0.75 on the newest experience, ``drop`` less on each earlier one; seeds differ by 0.1."""
    classes = [[f"class {2 * i}", f"class {2 * i + 1}"] for i in range(experiences)]
    rows: list[Row] = []
    for seed in range(seeds):
        rows.append(StreamRow(kind="stream", strategy=name, seed=seed, experiences=classes))
        for t in range(experiences):
            accuracy = [max(0.75 + 0.1 * seed - drop * (t - j), 0.0) for j in range(t + 1)]
            per_class = {name: accuracy[j] for j in range(t + 1) for name in classes[j]}
            full: list[float | None] = [*accuracy, *[0.0] * (experiences - t - 1)]
            values = {"accuracy": full, "seen_accuracy": sum(accuracy) / (t + 1), "per_class": per_class}
            rows.append(EvaluationRow(kind="evaluation", strategy=name, seed=seed, experience=t, **values))
    return StrategyResults(f"{run}/{name}", name, run, rows)


def words(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_band_is_drawn_only_for_several_seeds() -> None:
    one, several = (figures.accuracy_curves([strategy("replay", seeds=seeds)]) for seeds in (1, 3))
    assert "opacity: 0.15" not in one
    assert "opacity: 0.15" in several
    assert {"run/replay", "classes seen", "2", "4", "6"} <= set(words(one))


def test_curve_goes_through_the_accuracies() -> None:
    """Heights in the figure are proportional to 75, 62.5 and 50 percent."""
    svg = figures.accuracy_curves([strategy("replay")])
    paths = re.findall(r'<path d="([^"]*)"[^>]*stroke: #0072b2', svg)
    points = [tuple(map(float, point)) for point in re.findall(r"[ML] ([\d.]+) ([\d.]+)", max(paths, key=len))]
    (x0, y0), (x1, y1), (x2, y2) = points[:3]
    assert x1 - x0 == x2 - x1 or abs((x1 - x0) - (x2 - x1)) < 1e-3
    assert abs((y1 - y0) - (y2 - y1)) < 1e-3
    assert y0 < y1 < y2  # down the page


def test_cells_of_unseen_experiences_are_empty_if_all_are_zero() -> None:
    matrix = [text for text in words(figures.accuracy_matrices([strategy("naive", drop=0.5)])) if text.isdigit()]
    assert sorted(matrix, key=int) == sorted(["1", "2", "3"] * 2 + ["75", "25", "75", "0", "25", "75"], key=int)
    early = strategy("naive", drop=0.5)
    early.evaluations[0][0].accuracy[2] = 0.11  # recognized before it was trained on
    assert "11" in words(figures.accuracy_matrices([early]))


def test_forgetting_omits_the_last_classes_and_puts_the_most_forgotten_on_top() -> None:
    svg = figures.class_forgetting([strategy("replay")])
    names = [text for text in words(svg) if text.startswith("class")]
    assert set(names) == {"class 0", "class 1", "class 2", "class 3"}  # 4 and 5 are learned last
    heights = {m[1]: float(m[0]) for m in re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>(class \d)</text>', svg)}
    assert max(heights["class 0"], heights["class 1"]) < min(heights["class 2"], heights["class 3"])


def test_many_experiences_and_classes_stay_readable() -> None:
    many = [strategy("naive", experiences=300, drop=0.001)]
    matrix = figures.accuracy_matrices(many)
    assert "<image" in matrix and len(matrix) < 500_000
    bars = figures.class_forgetting(many)
    names = [text for text in words(bars) if text.startswith("class ")]
    assert len(names) == 60 and set(names) == {f"class {number}" for number in range(60)}
    assert "forgetting (%), 60 of 598 classes" in words(bars)


def test_no_data_gives_no_figure() -> None:
    empty = StrategyResults("replay", "replay", "run", [])
    assert figures.accuracy_curves([]) == figures.accuracy_curves([empty]) == ""
    assert figures.accuracy_matrices([empty]) == ""
    assert figures.class_forgetting([empty]) == ""
    assert figures.class_forgetting([strategy("joint", experiences=1)]) == ""


def test_strategy_has_the_same_colour_in_every_report() -> None:
    together = strategy_colours([strategy(name) for name in ("naive", "replay", "mine", "coconut", "joint")])
    alone = strategy_colours([strategy("coconut")])
    assert together["coconut"] == alone["coconut"]
    assert len(set(together.values())) == 5
    two_runs = strategy_colours([strategy("replay", "a"), strategy("replay", "b")])
    assert two_runs == {"replay": alone.get("replay", together["replay"])}


def test_runs_differ_in_line_and_marker() -> None:
    svg = figures.accuracy_curves([strategy("replay", "a"), strategy("replay", "b")])
    assert len(re.findall(r"stroke-dasharray: [\d.,]+[^>]*stroke: #0072b2", svg)) >= 1


def test_matplotlib_state_is_unchanged() -> None:
    before = dict(matplotlib.rcParams)
    figures.accuracy_matrices([strategy("naive")])
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_same_numbers_give_the_same_figure() -> None:
    results = [strategy("naive"), strategy("replay", seeds=2)]
    for draw in (figures.accuracy_curves, figures.accuracy_matrices, figures.class_forgetting):
        assert draw(results) == draw(results)


def test_a_stream_of_domains_is_drawn_and_listed_by_domain() -> None:
    results = strategy("replay")
    classes, names = [["class 0", "class 1"], [], []], [["theo"], ["george"], ["lucas"]]
    results.rows[0] = StreamRow(kind="stream", strategy="replay", seed=0, experiences=classes, domains=names)
    assert {"domains seen", "1", "2", "3"} <= set(words(figures.accuracy_curves([results])))
    table = figures.stream_tables([results])
    assert "george" in table and "domains" in table and "class 1" not in table

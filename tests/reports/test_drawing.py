"""Colours and styles shared by the figures of a report."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.figure import Figure

from mmcl.reports.drawing import PALETTE, line_styles, panel_title, series_style, strategy_colours
from mmcl.reports.results import StrategyResults


def strategies(names: list[str], run: str = "run") -> list[StrategyResults]:
    return [StrategyResults(f"{run}/{name}", name, run, []) for name in names]


def lab(colour: str) -> np.ndarray:
    """CIE L*a*b* coordinates, in which distances are perceived differences."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    rgb = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ rgb / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_twelve_strategies_have_clearly_different_colours() -> None:
    colours = strategy_colours(strategies([f"method {i}" for i in range(12)]))
    assert len(set(colours.values())) == 12
    for one, other in combinations(PALETTE, 2):
        assert np.linalg.norm(lab(one) - lab(other)) > 25, (one, other)


@pytest.mark.parametrize("names", [["naive", "replay", "mine", "coconut", "lwf", "icarl", "joint", "b", "c", "d"]])
def test_new_strategies_avoid_the_colours_of_known_ones(names: list[str]) -> None:
    assert len(set(strategy_colours(strategies(names)).values())) == len(names)


def test_series_beyond_the_palette_change_the_marker() -> None:
    styles = [series_style(index) for index in range(3 * len(PALETTE))]
    assert len(set(styles)) == len(styles)


def test_runs_share_the_colour_of_a_strategy_but_not_its_line() -> None:
    styles = line_styles([*strategies(["replay"], "a"), *strategies(["replay"], "b")])
    assert styles["a/replay"]["color"] == styles["b/replay"]["color"]
    assert styles["a/replay"]["linestyle"] != styles["b/replay"]["linestyle"]


def test_twelve_strategies_with_all_known_ones_look_different() -> None:
    names = ["naive", "offline", "joint", "replay", "lwf", "icarl", "coconut", *(f"replay+{i}" for i in range(12))]
    for count in (12, len(names)):
        styles = line_styles(strategies(names[:count])).values()
        assert len({(style["color"], str(style["linestyle"]), style["marker"]) for style in styles}) == count
    assert len(set(strategy_colours(strategies(names[:12])).values())) == 12


def test_long_titles_of_panels_take_several_lines() -> None:
    axes = Figure().add_subplot()
    panel_title(axes, "barista_seq2seq-20261128-060227/replay+relational_kd")
    lines = axes.get_title().split("\n")
    assert "".join(lines) == "barista_seq2seq-20261128-060227/replay+relational_kd" and max(map(len, lines)) <= 24

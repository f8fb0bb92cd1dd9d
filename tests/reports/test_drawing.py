"""Colours and styles shared by the figures of a report."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mmcl.reports.drawing import PALETTE, line_styles, series_style, strategy_colours
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

"""The distance of each unlearning method to Retrain, over its time and for each measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray

from mmcl.reports.drawing import GRID, INK, as_svg, plain_axes, series_style
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import ResultRow, Seed
from mmcl.text.escape import figure_text

_DISTANCE, _TIME = "distance to Retrain", "time / Retrain's"
_NOT_COMPARED = ("loss attack", _DISTANCE, _TIME)

Measures = Mapping[str, float | None]


class _Method(NamedTuple):
    """The measures of a method by seed, and those of Retrain with the same seeds."""

    label: str
    own: list[Measures]
    retrain: list[Measures]


def distances(strategies: Sequence[StrategyResults]) -> str:
    """Plot the distance of each method to Retrain.

    Left: the distance over time, mean and deviation over seeds. Right: the difference of each measure from Retrain
    with the same seed.
    """
    methods = _methods(strategies)
    if not methods:
        return ""
    measures = [name for name in methods[0].retrain[0] if name not in _NOT_COMPARED]
    figure = Figure(figsize=(9.2, 0.42 * max(len(methods), 6) + 1.4), layout="constrained")
    near, apart = figure.subplots(1, 2, width_ratios=(1, 1.35))
    for index, (label, own, retrain) in enumerate(methods):
        colour, marker = series_style(index)
        style = {"color": colour, "marker": marker, "markersize": 5, "linestyle": "none", "label": figure_text(label)}
        time, distance = _column(own, _TIME), _column(own, _DISTANCE)
        near.errorbar(time.mean(), 100 * distance.mean(), 100 * _std(distance), ecolor=colour, **style)
        difference = np.array([_column(own, name) - _column(retrain, name) for name in measures])
        difference = 100 * difference.reshape(len(measures), len(own)).T
        x = np.arange(len(measures)) + 0.7 * ((index + 0.5) / len(methods) - 0.5)
        apart.errorbar(x, difference.mean(0), [_std(column) for column in difference.T], ecolor=colour, **style)
    _scale(near, apart, logarithmic=any((_column(each.own, _TIME) > 0).any() for each in methods))
    apart.set_xticks(range(len(measures)), [figure_text(name) for name in measures])
    figure.legend(*near.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return as_svg(figure, "Distance of each method to Retrain")


def _methods(strategies: Sequence[StrategyResults]) -> list[_Method]:
    """Pair the measures of each method with those of Retrain in the same run with the same seed."""
    retrained: dict[tuple[str, Seed], Measures] = {}
    for each in strategies:
        if each.strategy == "retrain":
            retrained |= {(each.run, seed): row.measures for seed, row in each.results.items() if row.measures}
    methods = []
    for each in strategies:
        rows = [
            (row.measures, retrained[each.run, seed])
            for seed, row in each.results.items()
            if _DISTANCE in row.measures and (each.run, seed) in retrained
        ]
        if rows:
            methods.append(_Method(each.label, [own for own, _ in rows], [retrain for _, retrain in rows]))
    return methods


def _scale(near: Axes, apart: Axes, *, logarithmic: bool) -> None:
    scale = "log" if logarithmic else "linear"
    near.set(xlabel=_TIME, ylabel=f"{_DISTANCE} (points)", xscale=scale, ylim=(0, None))
    if logarithmic:
        near.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    near.xaxis.set_major_formatter("{x:g}")
    near.xaxis.set_minor_locator(NullLocator())
    apart.axhline(0, color=INK, linewidth=0.8)
    apart.set_yscale("symlog", linthresh=1)
    apart.set(ylabel="difference from Retrain (points)")
    apart.yaxis.set_major_formatter("{x:g}")
    for axes in (near, apart):
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        plain_axes(axes)


def _column(rows: Sequence[Measures], name: str) -> NDArray[np.float64]:
    """Return one measure of several rows, NaN where it is missing."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], dtype=float)


def _std(values: NDArray[np.float64]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


SECTIONS = (
    Section(
        "Distance to Retrain",
        "mean and deviation over seeds; right: difference of each measure from Retrain with the same seed",
        ResultRow,
        distances,
    ),
)

"""The plots of unlearning in a report, as SVG text: how near each method comes to Retrain, in what time and in what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from mmcl.reports.figures.classes import GRID, INK, as_svg, plain_axes
from mmcl.text.escape import figure_text

_COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8a8a", "#7f3c8d", "#b8a200")
_NOT_COMPARED = ("loss attack", "distance to Retrain", "time / Retrain's")


def distances(rows: Sequence[dict[str, Any]]) -> str:
    """Draw distance to Retrain against time, mean and deviation over seeds, and beside it how far each measure of each
    method lies from Retrain's of the same seed; of rows of kind ``result`` that have a distance to Retrain."""
    found = [
        row["measures"] | {"name": row["strategy"], "seed": row["seed"]}
        for row in rows
        if row["kind"] == "result" and "measures" in row
    ]
    retrained = {row["seed"]: row for row in found if row["name"] == "retrain"}
    compared = [row for row in found if "distance to Retrain" in row and row["seed"] in retrained]
    if not compared:
        return ""
    names = list(dict.fromkeys(row["name"] for row in compared))
    measures = [name for name in retrained[compared[0]["seed"]] if name not in (*_NOT_COMPARED, "name", "seed")]
    figure = Figure(figsize=(9.2, 0.42 * max(len(names), 6) + 1.4), layout="constrained")
    near, apart = figure.subplots(1, 2, width_ratios=(1, 1.35))
    for number, name in enumerate(names):
        own = [row for row in compared if row["name"] == name]
        colour, marker = _COLOURS[number % len(_COLOURS)], "os^D"[number // len(_COLOURS) % 4]
        style = {"color": colour, "marker": marker, "markersize": 5, "linestyle": "none", "label": figure_text(name)}
        time, distance = (_column(own, key) for key in ("time / Retrain's", "distance to Retrain"))
        near.errorbar(time.mean(), 100 * distance.mean(), 100 * _deviation(distance), ecolor=colour, **style)
        retrain = [retrained[row["seed"]] for row in own]
        off = np.array([_column(own, key) - _column(retrain, key) for key in measures])
        off = 100 * off.reshape(len(measures), len(own)).T
        places = np.arange(len(measures)) + 0.7 * ((number + 0.5) / len(names) - 0.5)
        deviations = [_deviation(column) for column in off.T]
        apart.errorbar(places, off.mean(0), deviations, ecolor=colour, **style)
    scale = "log" if (_column(compared, "time / Retrain's") > 0).any() else "linear"
    near.set(xlabel="time / Retrain's", ylabel="distance to Retrain (points)", xscale=scale, ylim=(0, None))
    apart.axhline(0, color=INK, linewidth=0.8)
    if scale == "log":
        near.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
    near.xaxis.set_major_formatter("{x:g}")
    near.xaxis.set_minor_locator(NullLocator())
    apart.set_yscale("symlog", linthresh=1)
    apart.set(ylabel="difference from Retrain (points)")
    apart.yaxis.set_major_formatter("{x:g}")
    apart.set_xticks(range(len(measures)), [figure_text(name) for name in measures])
    for axes in (near, apart):
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        plain_axes(axes)
    figure.legend(*near.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return as_svg(figure, "How near each method comes to Retrain")


def _column(rows: Sequence[dict[str, Any]], key: str) -> Any:
    """Values of several rows, nan where one is missing."""
    return np.array([np.nan if row.get(key) is None else row[key] for row in rows], dtype=float)


def _deviation(values: Any) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

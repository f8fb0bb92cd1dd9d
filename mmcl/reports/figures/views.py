"""The plots of a classifier of several views in a report, as SVG text: what each view tells, and a map of samples."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmcl.reports.figures.classes import GRID, INK, as_svg, plain_axes
from mmcl.text.escape import figure_text

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8a8a8a", "#222222")
_KINDS = {"alone": "by its own head", "missing": "by the others, where it is missing"}


def views(rows: Sequence[dict[str, Any]]) -> str:
    """Draw test accuracy with each view alone and without it, mean and deviation over seeds; of rows of kind
    ``views``."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "views":
            found.setdefault(row["strategy"], []).append(row)
    if not found:
        return ""
    columns = min(len(found), 3)
    figure = Figure(figsize=(2.9 * columns, 2.9 * ceil(len(found) / columns)), layout="constrained")
    bars: Any = None
    for place, (name, of_seeds) in enumerate(found.items(), start=1):
        axes = figure.add_subplot(ceil(len(found) / columns), columns, place)
        names = list(of_seeds[0]["alone"])
        for number, (kind, label) in enumerate(_KINDS.items()):
            values = 100 * np.array([[row[kind].get(view, np.nan) for view in names] for row in of_seeds])
            deviation = values.std(0, ddof=1) if len(values) > 1 else None
            x = np.arange(len(names)) + 0.4 * (number - 0.5)
            axes.bar(x, values.mean(0), 0.36, yerr=deviation, color=_COLOURS[number], label=label, ecolor=INK)
        axes.set_xticks(range(len(names)), [figure_text(name) for name in names])
        axes.set(ylim=(0, 102), ylabel="accuracy (%)")
        axes.set_title(figure_text(name), fontsize=10, color=INK)
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        plain_axes(axes)
        bars = axes
    figure.legend(*bars.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return as_svg(figure, "What each view tells")


def maps(rows: Sequence[dict[str, Any]]) -> str:
    """Draw each sample where its embedding is mapped to, in the colour of its class; of rows of kind ``map``."""
    found = [row for row in rows if row["kind"] == "map"]
    if not found:
        return ""
    columns = min(len(found), 3)
    figure = Figure(figsize=(2.9 * columns, 2.9 * ceil(len(found) / columns)), layout="constrained")
    for place, row in enumerate(found, start=1):
        axes = figure.add_subplot(ceil(len(found) / columns), columns, place)
        points, labels = np.array(row["points"]), np.array(row["labels"])
        for label, name in enumerate(row["classes"]):
            x, y = points[labels == label].T
            marker = "osD^"[label // len(_COLOURS) % 4]
            axes.scatter(
                x, y, s=9, color=_COLOURS[label % len(_COLOURS)], marker=marker, linewidths=0, label=figure_text(name)
            )
        axes.set_title(figure_text(row["strategy"]), fontsize=10, color=INK)
        axes.set(xticks=[], yticks=[])
        plain_axes(axes, frame=False)
    if len(found[0]["classes"]) <= 20:
        handles = axes.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8, markerscale=1.6)
    return as_svg(figure, "Samples as they are embedded")

"""Sections of multimodal classification: the accuracy of each view, and a map of samples."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from mmcl.reports.drawing import GRID, INK, PALETTE, as_svg, panel_title, plain_axes, series_style
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import MapRow, ViewsRow
from mmcl.text.escape import figure_text


def views(strategies: Sequence[StrategyResults]) -> str:
    """Draw the test accuracy of each view alone and of the others without it, mean and deviation over seeds."""
    found = {each.label: rows for each in strategies if (rows := each.of_type(ViewsRow))}
    if not found:
        return ""
    columns = min(len(found), 3)
    figure = Figure(figsize=(2.9 * columns, 2.9 * ceil(len(found) / columns)), layout="constrained")
    for index, (strategy, rows) in enumerate(found.items(), start=1):
        axes = figure.add_subplot(ceil(len(found) / columns), columns, index)
        names = list(rows[0].alone)
        bars = {
            "the view alone": [row.alone for row in rows],
            "the others without it": [row.missing for row in rows],
        }
        for bar, (label, accuracies) in enumerate(bars.items()):
            values = 100 * np.array([[each.get(name, np.nan) for name in names] for each in accuracies])
            std = values.std(0, ddof=1) if len(values) > 1 else None
            x = np.arange(len(names)) + 0.4 * (bar - 0.5)
            axes.bar(x, values.mean(0), 0.36, yerr=std, color=PALETTE[bar], label=label, ecolor=INK)
        axes.set_xticks(range(len(names)), [figure_text(name) for name in names])
        axes.set(ylim=(0, 102), ylabel="accuracy (%)")
        panel_title(axes, strategy)
        axes.grid(axis="y", color=GRID)
        axes.set_axisbelow(True)
        plain_axes(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return as_svg(figure, "Accuracy of each view")


def maps(strategies: Sequence[StrategyResults]) -> str:
    """Draw the embeddings of test samples in 2-D, coloured by class, or from low to high targets."""
    found = [(each.label, row) for each in strategies for row in each.of_type(MapRow)]
    if not found:
        return ""
    columns = min(len(found), 3)
    figure = Figure(figsize=(2.9 * columns, 2.9 * ceil(len(found) / columns)), layout="constrained")
    for index, (strategy, row) in enumerate(found, start=1):
        axes = figure.add_subplot(ceil(len(found) / columns), columns, index)
        points, labels = np.array(row.points), np.array(row.labels)
        for label, name in enumerate(row.classes):
            x, y = points[labels == label].T
            colour, marker = series_style(label)
            if row.ordered:
                colour, marker = to_hex(colormaps["viridis"](label / max(len(row.classes) - 1, 1))), "o"
            axes.scatter(x, y, s=9, color=colour, marker=marker, linewidths=0, label=figure_text(name))
        panel_title(axes, strategy)
        axes.set(xticks=[], yticks=[])
        plain_axes(axes, frame=False)
    if len(found[0][1].classes) <= 20:
        handles = axes.get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8, markerscale=1.6)
    return as_svg(figure, "Embeddings of samples")


SECTIONS = (
    Section(
        "Views",
        "test accuracy of each view alone, and of the others without it; mean and deviation over seeds",
        ViewsRow,
        views,
    ),
    Section("Map", "test samples in the joint embedding space, by t-SNE; first seed", MapRow, maps),
)

"""Measures of a representation over the epochs of its training."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from mmcl.reports.drawing import GRID, as_svg, line_styles, panel_title, plain_axes
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import SCALES, RepresentationRow
from mmcl.text.escape import figure_text


def curves(strategies: Sequence[StrategyResults]) -> str:
    """Plot each measure over epochs, mean over seeds, with one line per objective."""
    rows = {each.label: each.of_type(RepresentationRow) for each in strategies}
    names = list(dict.fromkeys(name for own in rows.values() for row in own for name in row.measures))
    if not names or max(row.epoch for own in rows.values() for row in own) == 0:
        return ""
    styles, columns = line_styles(strategies), min(len(names), 3)
    lines = ceil(len(names) / columns)
    figure = Figure(figsize=(2.9 * columns, 2.3 * lines), layout="constrained")
    for index, name in enumerate(names, start=1):
        axes = figure.add_subplot(lines, columns, index)
        for label, own in rows.items():
            chosen: Any = {key: styles[label][key] for key in ("color", "linestyle")}
            values: dict[int, list[float]] = {}
            for row in own:
                if name in row.measures:
                    values.setdefault(row.epoch, []).append(SCALES.get(name, 100.0) * row.measures[name])
            means = [fmean(values[epoch]) for epoch in sorted(values)]
            axes.plot(sorted(values), means, label=figure_text(label), marker="o", markersize=3, **chosen)
        panel_title(axes, name)
        axes.grid(axis="y", color=GRID)
        plain_axes(axes)
        if index > len(names) - columns:
            axes.set_xlabel("epoch")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return as_svg(figure, "Representation over epochs")


SECTIONS = (
    Section(
        "Representation",
        "measures of test samples over epochs, mean over seeds; in percent except uniformity, effective rank, and "
        "errors in the unit of the target",
        RepresentationRow,
        curves,
    ),
)

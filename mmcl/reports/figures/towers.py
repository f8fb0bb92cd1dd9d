"""Sections of two-tower models: zero-shot confusion and the structure of similarities."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mmcl.reports.drawing import HEAT, INK, PALETTE, as_svg, plain_axes
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import SimilarityRow, ZeroShotRow
from mmcl.text.escape import figure_text

_MAX_CLASSES = 20  # the names of more classes do not fit


def confusions(strategies: Sequence[StrategyResults]) -> str:
    """Draw a confusion matrix for each data set and objective, of the first seed."""
    chosen: dict[tuple[str, str], ZeroShotRow] = {}
    for each in strategies:
        for row in each.of_type(ZeroShotRow):
            if 1 <= len(row.confusion) <= _MAX_CLASSES:
                chosen.setdefault((row.data, each.label), row)
    if not chosen:
        return ""
    columns = min(len(chosen), 2)
    height = 1.6 + 0.24 * max(len(row.classes) for row in chosen.values())
    figure = Figure(figsize=(4.2 * columns, height * ceil(len(chosen) / columns)), layout="constrained")
    for index, ((data, label), row) in enumerate(chosen.items(), start=1):
        axes = figure.add_subplot(ceil(len(chosen) / columns), columns, index)
        _confusion(axes, row)
        axes.set_title(figure_text(f"{data}, {label}"), fontsize=10, color=INK)
    return as_svg(figure, "Confusion")


def _confusion(axes: Axes, row: ZeroShotRow) -> None:
    counts = np.array(row.confusion, dtype=float)
    shares = counts / counts.sum(1, keepdims=True).clip(min=1)
    edges = np.arange(len(shares) + 1) - 0.5
    axes.pcolormesh(edges, edges, shares, cmap=HEAT, vmin=0.0, vmax=1.0, edgecolors="white", linewidth=1.0)
    for i, j in np.argwhere(shares >= 0.005):
        colour = "white" if shares[i, j] > 0.45 else INK
        text = axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=6)
        text.set_in_layout(False)
    names = [figure_text(name) for name in row.classes]
    axes.set_xticks(range(len(shares)), names, rotation=90)
    axes.set_yticks(range(len(shares)), names)
    axes.set_ylim(len(shares) - 0.5, -0.5)
    plain_axes(axes, frame=False)
    axes.tick_params(labelsize=7)


def similarities(strategies: Sequence[StrategyResults]) -> str:
    """Draw speech-text over text-text similarities for each objective, of the first seed."""
    chosen = {each.label: rows[0] for each in strategies if (rows := each.of_type(SimilarityRow))}
    if not chosen:
        return ""
    columns = min(len(chosen), 3)
    layout = ConstrainedLayoutEngine(wspace=0.04)
    figure = Figure(figsize=(2.9 * columns, 2.9 * ceil(len(chosen) / columns)), layout=layout)
    shared: Axes | None = None
    for index, (label, row) in enumerate(chosen.items(), start=1):
        shared = axes = figure.add_subplot(ceil(len(chosen) / columns), columns, index, sharex=shared, sharey=shared)
        counts = np.array(row.counts, dtype=float)
        axes.pcolormesh(row.edges, row.edges, np.log1p(counts.T), cmap=HEAT, rasterized=False)
        axes.plot([-1, 1], [-1, 1], color=INK, linewidth=0.7, linestyle=":")
        axes.plot(row.centres, row.means, color=PALETTE[1], linewidth=1.6)
        axes.set(xlim=(-0.35, 1), ylim=(-0.35, 1), xlabel="text and text", ylabel="speech and text")
        axes.set_title(f"{figure_text(label)}, correlation {row.correlation:.2f}", fontsize=10, color=INK)
        plain_axes(axes)
    return as_svg(figure, "Structure of similarities")


SECTIONS = (
    Section("Confusion", "zero-shot, row: true class, column: nearest class; first seed", ZeroShotRow, confusions),
    Section(
        "Structure of similarities",
        "pairs of held-out samples: cosine of one sample's speech and the other's text, over the cosine of both texts "
        "in the locked tower; first seed",
        SimilarityRow,
        similarities,
    ),
)

"""The plots of two towers in a report, as SVG text: loss, confusion, structure of similarities."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mmcl.reports.figures.classes import GRID, HEAT, INK, as_svg, plain_axes
from mmcl.text.escape import figure_text

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_MOST_CLASSES = 20  # a larger matrix has no room for its names


def losses(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the loss over epochs, a line for each objective, mean over seeds; of rows of kind ``epoch``."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row["kind"] == "epoch" and "experience" not in row:
            found.setdefault(row["strategy"], {}).setdefault(row["epoch"], []).append(row["loss"])
    if not found:
        return ""
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for (name, epochs), colour in zip(found.items(), _COLOURS * len(found), strict=False):
        axes.plot(
            list(epochs),
            [np.mean(values) for values in epochs.values()],
            color=colour,
            label=figure_text(name),
            linewidth=1.8,
        )
    axes.set(xlabel="epoch", ylabel="loss")
    axes.grid(axis="y", color=GRID)
    plain_axes(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return as_svg(figure, "Training loss")


def confusions(rows: Sequence[dict[str, Any]]) -> str:
    """Draw a matrix for each objective and data set, of rows of kind ``zero_shot``, the first seed of each."""
    chosen: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if row["kind"] == "zero_shot" and len(row.get("confusion", ())) in range(1, _MOST_CLASSES + 1):
            chosen.setdefault((row.get("data", ""), row["strategy"]), row)
    if not chosen:
        return ""
    columns = min(len(chosen), 2)
    height = 1.6 + 0.24 * max(len(row["classes"]) for row in chosen.values())
    figure = Figure(figsize=(4.2 * columns, height * ceil(len(chosen) / columns)), layout="constrained")
    for place, ((data, strategy), row) in enumerate(chosen.items(), start=1):
        counts = np.array(row["confusion"], dtype=float)
        shares = counts / counts.sum(1, keepdims=True).clip(min=1)
        axes = figure.add_subplot(ceil(len(chosen) / columns), columns, place)
        edges = np.arange(len(shares) + 1) - 0.5
        axes.pcolormesh(edges, edges, shares, cmap=HEAT, vmin=0.0, vmax=1.0, edgecolors="white", linewidth=1.0)
        for i, j in np.argwhere(shares >= 0.005):
            colour = "white" if shares[i, j] > 0.45 else INK
            text = axes.text(j, i, f"{100 * shares[i, j]:.0f}", ha="center", va="center", color=colour, fontsize=6)
            text.set_in_layout(False)
        axes.set_title(figure_text(f"{data}, {strategy}"), fontsize=10, color=INK)
        names = [figure_text(name) for name in row["classes"]]
        axes.set_xticks(range(len(shares)), names, rotation=90)
        axes.set_yticks(range(len(shares)), names)
        axes.set_ylim(len(shares) - 0.5, -0.5)
        plain_axes(axes, frame=False)
        axes.tick_params(labelsize=7)
    return as_svg(figure, "Confusion")


def similarities(rows: Sequence[dict[str, Any]]) -> str:
    """Draw cross-modal over text similarities, of rows of kind ``similarity``, the first seed of each objective."""
    chosen: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["kind"] == "similarity":
            chosen.setdefault(row["strategy"], row)
    if not chosen:
        return ""
    columns = min(len(chosen), 3)
    layout = ConstrainedLayoutEngine(wspace=0.04)
    figure = Figure(figsize=(2.9 * columns, 2.9 * ceil(len(chosen) / columns)), layout=layout)
    shared: Any = None
    for place, (name, row) in enumerate(chosen.items(), start=1):
        shared = axes = figure.add_subplot(ceil(len(chosen) / columns), columns, place, sharex=shared, sharey=shared)
        counts = np.array(row["counts"], dtype=float)
        axes.pcolormesh(row["edges"], row["edges"], np.log1p(counts.T), cmap=HEAT, rasterized=False)
        axes.plot([-1, 1], [-1, 1], color=INK, linewidth=0.7, linestyle=":")
        axes.plot(row["centres"], row["means"], color="#d55e00", linewidth=1.6)
        axes.set(xlim=(-0.35, 1), ylim=(-0.35, 1), xlabel="text and text", ylabel="speech and text")
        axes.set_title(f"{figure_text(name)}, correlation {row['correlation']:.2f}", fontsize=10, color=INK)
        plain_axes(axes)
    return as_svg(figure, "Structure of similarities")

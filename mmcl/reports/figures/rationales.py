"""The plot of rationale distillation in a report, as SVG text: how much is right, over epochs and on the test split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from mmcl.reports.figures.classes import GRID, as_svg, plain_axes
from mmcl.reports.results import Estimate
from mmcl.text.escape import figure_text

_COLOURS = ("#8a8a8a", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")


def answers(rows: Sequence[dict[str, Any]]) -> str:
    """Draw validation accuracy over epochs, a line for the mean over seeds and a band for the deviation, and beside it
    what is right on the test split, a point for each seed and a line for their mean; of rows of kind ``epoch`` that
    have a ``valid_accuracy``."""
    found: dict[str, dict[int, dict[int, float]]] = {}
    for row in rows:
        if row["kind"] == "epoch" and "valid_accuracy" in row:
            found.setdefault(row["strategy"], {}).setdefault(row["epoch"], {})[row["seed"]] = row["valid_accuracy"]
    if not found:
        return ""
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    over, end = figure.subplots(1, 2, width_ratios=(1.6, 1))
    for place, (name, epochs) in enumerate(found.items()):
        colour = _COLOURS[place % len(_COLOURS)]
        estimates = {epoch: Estimate.of(epochs[epoch].values()) for epoch in sorted(epochs)}
        there = {epoch: (each.mean, each.deviation or 0.0) for epoch, each in estimates.items() if each is not None}
        x, (mean, deviation) = list(there), 100 * np.array(list(there.values())).reshape(-1, 2).T
        over.plot(x, mean, color=colour, linewidth=1.6, label=figure_text(name))
        over.fill_between(x, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0)
        tests = [
            100 * row["measures"]["accuracy"]
            for row in rows
            if row["kind"] == "result"
            and row["strategy"] == name
            and row.get("measures", {}).get("accuracy") is not None
        ]
        end.plot([place] * len(tests), tests, "o", color=colour, markersize=5, alpha=0.7)
        if tests:
            end.hlines(np.mean(tests), place - 0.3, place + 0.3, color=colour, linewidth=2)
    over.set(xlabel="epoch", ylabel="right on the validation split (%)", ylim=(0, None))
    end.set(ylabel="right on the test split (%)", ylim=(0, None), xlim=(-0.6, len(found) - 0.4))
    end.set_xticks(range(len(found)), [figure_text(name) for name in found])
    for axes in (over, end):
        axes.grid(axis="y", color=GRID)
        plain_axes(axes)
    figure.legend(*over.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return as_svg(figure, "Answers that are right")

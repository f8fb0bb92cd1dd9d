"""The training loss over epochs, for tasks without experiences."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from matplotlib.figure import Figure

from mmcl.reports.drawing import GRID, as_svg, line_styles, plain_axes
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import EpochRow
from mmcl.text.escape import figure_text


def losses(strategies: Sequence[StrategyResults]) -> str:
    """Plot the mean loss over seeds, with one line per strategy."""
    styles = line_styles(strategies)
    figure = Figure(figsize=(8.4, 3.0), layout="constrained")
    axes = figure.add_subplot()
    for each in strategies:
        epochs: dict[int, list[float]] = {}
        for row in each.of_type(EpochRow):
            if row.experience is None:
                epochs.setdefault(row.epoch, []).append(row.loss)
        if epochs:
            style = styles[each.label]
            axes.plot(
                list(epochs),
                [fmean(values) for values in epochs.values()],
                color=style["color"],
                linestyle=style["linestyle"],
                label=figure_text(each.label),
                linewidth=1.8,
            )
    if not axes.lines:
        return ""
    axes.set(xlabel="epoch", ylabel="loss")
    axes.grid(axis="y", color=GRID)
    plain_axes(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return as_svg(figure, "Training loss")


SECTIONS = (Section("Training loss", "mean over seeds", EpochRow, losses),)

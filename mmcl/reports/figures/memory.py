"""Section of class-incremental tasks: accuracy against the memory that a strategy keeps."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from mmcl.reports.drawing import GRID, as_svg, line_styles, plain_axes
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import ResultRow
from mmcl.text.escape import figure_text


def accuracy_against_memory(strategies: Sequence[StrategyResults]) -> str:
    """Plot the last accuracy over the bytes kept, with the deviation over seeds as a bar; "" for fewer than two."""
    styles = line_styles(strategies)
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    count = 0
    for each in strategies:
        kept, accuracy = each.measure("memory_bytes"), each.measure("last_accuracy")
        if kept is None or accuracy is None:
            continue
        count += 1
        style = styles[each.label]
        axes.errorbar(
            [kept.mean / 1024],
            [100 * accuracy.mean],
            yerr=[100 * (accuracy.std or 0.0)],
            color=style["color"],
            marker=style["marker"],
            linestyle="none",
            markersize=7,
            capsize=3,
            label=figure_text(each.label),
        )
    if count < 2:
        return ""
    axes.set_xscale("symlog", linthresh=1.0)  # strategies without memory are at 0
    axes.set(xlabel="exemplars and statistics kept (KiB)", ylabel="last accuracy (%)", ylim=(0, 102), xlim=(-0.2, None))
    axes.grid(color=GRID)
    plain_axes(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return as_svg(figure, "Accuracy against memory")


SECTIONS = [
    Section(
        "Accuracy against memory",
        "Last accuracy, and bytes of the exemplars and statistics that a strategy keeps for later experiences. Copies "
        "of the model, such as a teacher, are not counted.",
        ResultRow,
        accuracy_against_memory,
    )
]

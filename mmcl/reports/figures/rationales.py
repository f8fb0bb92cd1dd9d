"""The accuracy of answers in rationale distillation, over epochs and on the test split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from mmcl.reports.drawing import GRID, as_svg, plain_axes, strategy_colours
from mmcl.reports.figures import Section
from mmcl.reports.results import MeanStd, StrategyResults
from mmcl.reports.row_types import EpochRow, Seed
from mmcl.text.escape import figure_text


def answer_accuracy(strategies: Sequence[StrategyResults]) -> str:
    """Plot validation accuracy over epochs, and test accuracy next to it.

    Left: the mean over seeds as a line, the deviation as a band. Right: one point per seed, and their mean as a line.
    """
    curves = {each.label: curve for each in strategies if (curve := _valid_accuracy(each))}
    if not curves:
        return ""
    shown = [each for each in strategies if each.label in curves]
    colours = strategy_colours(shown)
    figure = Figure(figsize=(9.2, 3.4), layout="constrained")
    valid, test = figure.subplots(1, 2, width_ratios=(1.6, 1))
    for index, each in enumerate(shown):
        colour, curve = colours[each.strategy], curves[each.label]
        x, (mean, std) = list(curve), 100 * np.array([(point.mean, point.std or 0.0) for point in curve.values()]).T
        valid.plot(x, mean, color=colour, linewidth=1.6, label=figure_text(each.label))
        valid.fill_between(x, mean - std, mean + std, color=colour, alpha=0.15, linewidth=0)
        accuracies = [row.values.get("accuracy") for row in each.results.values()]
        percent = [100 * accuracy for accuracy in accuracies if accuracy is not None]
        test.plot([index] * len(percent), percent, "o", color=colour, markersize=5, alpha=0.7)
        if percent:
            test.hlines(np.mean(percent), index - 0.3, index + 0.3, color=colour, linewidth=2)
    valid.set(xlabel="epoch", ylabel="accuracy on the validation split (%)", ylim=(0, None))
    test.set(ylabel="accuracy on the test split (%)", ylim=(0, None), xlim=(-0.6, len(shown) - 0.4))
    names = [figure_text(each.label) for each in shown]
    test.set_xticks(range(len(shown)), names)
    for axes in (valid, test):
        axes.grid(axis="y", color=GRID)
        plain_axes(axes)
    figure.legend(*valid.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    return as_svg(figure, "Accuracy of answers")


def _valid_accuracy(results: StrategyResults) -> dict[int, MeanStd]:
    """Average the validation accuracy over seeds, by epoch; epochs without a finite value are left out."""
    epochs: dict[int, dict[Seed, float]] = {}
    for row in results.of_type(EpochRow):
        if row.valid_accuracy is not None:
            epochs.setdefault(row.epoch, {})[row.seed] = row.valid_accuracy
    averages = {epoch: MeanStd.of(epochs[epoch].values()) for epoch in sorted(epochs)}
    return {epoch: average for epoch, average in averages.items() if average is not None}


SECTIONS = (
    Section("Answers", "mean and deviation over seeds; right: each seed, and their mean", EpochRow, answer_accuracy),
)

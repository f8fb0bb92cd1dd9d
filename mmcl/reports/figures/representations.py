"""Measures of a representation over the epochs of its training, and over temperatures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, inf
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from mmcl.reports.drawing import GRID, as_svg, line_styles, panel_title, plain_axes, series_style
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import SCALES, RepresentationRow
from mmcl.text.escape import figure_text


def over_epochs(strategies: Sequence[StrategyResults]) -> str:
    """Plot each measure over epochs, mean over seeds, with one line per objective."""
    rows = {each.label: each.of_type(RepresentationRow) for each in strategies}
    names = list(dict.fromkeys(name for own in rows.values() for row in own for name in row.measures))
    if not names or max(row.epoch for own in rows.values() for row in own) == 0:
        return ""
    styles, figure = line_styles(strategies), Figure(layout="constrained")
    for name, axes in _panels(figure, names, "epoch"):
        for label, own in rows.items():
            values: dict[int, list[float]] = {}
            for row in own:
                if name in row.measures:
                    values.setdefault(row.epoch, []).append(SCALES.get(name, 100.0) * row.measures[name])
            axes.plot(
                sorted(values),
                [fmean(values[epoch]) for epoch in sorted(values)],
                label=figure_text(label),
                marker="o",
                markersize=3,
                color=styles[label]["color"],
                linestyle=styles[label]["linestyle"],
            )
    _legend(figure)
    return as_svg(figure, "Representation over epochs")


def over_temperatures(strategies: Sequence[StrategyResults]) -> str:
    """Plot each measure over temperatures, mean and deviation over seeds, with one line per objective.

    Objectives count that have results at two or more temperatures, as in ``nt_xent@0.1`` and ``nt_xent@0.5``. The
    temperature of a sum is that of its last objective.
    """
    groups: dict[str, dict[float, StrategyResults]] = {}
    for each in strategies:
        objective, _, text = each.label.rpartition("@")
        temperature = _positive(text)
        if objective and temperature and each.results and each.of_type(RepresentationRow):
            groups.setdefault(objective, {})[temperature] = each
    groups = {name: group for name, group in groups.items() if len(group) > 1}
    names = list(
        dict.fromkeys(name for group in groups.values() for each in group.values() for name in each.own_measures())
    )
    if not names:
        return ""
    figure = Figure(layout="constrained")
    for name, axes in _panels(figure, names, "temperature"):
        axes.set_xscale("log")
        for index, (objective, group) in enumerate(groups.items()):
            found = {temperature: each.measure(name) for temperature, each in sorted(group.items())}
            shown = {temperature: average for temperature, average in found.items() if average}
            (colour, _), scale = series_style(index), SCALES.get(name, 100.0)
            axes.errorbar(
                list(shown),
                [scale * average.mean for average in shown.values()],
                yerr=[scale * (average.std or 0.0) for average in shown.values()],
                label=figure_text(objective),
                marker="o",
                markersize=3,
                capsize=2,
                color=colour,
            )
        ticks = sorted({temperature for group in groups.values() for temperature in group})
        axes.set_xticks(ticks)
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    _legend(figure)
    return as_svg(figure, "Representation over temperatures")


def _positive(text: str) -> float | None:
    """Return a number that can be drawn on a logarithmic axis, or None if the text is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < inf else None


def _panels(figure: Figure, names: Sequence[str], below: str) -> Iterator[tuple[str, Axes]]:
    """Yield a panel for each measure, three in a row; the last ones have a label below their axes."""
    columns = min(len(names), 3)
    lines = ceil(len(names) / columns)
    figure.set_size_inches(2.9 * columns, 2.3 * lines)
    for index, name in enumerate(names, start=1):
        axes = figure.add_subplot(lines, columns, index)
        yield name, axes
        panel_title(axes, name)
        axes.grid(axis="y", color=GRID)
        plain_axes(axes)
        if index > len(names) - columns:
            axes.set_xlabel(below)


def _legend(figure: Figure) -> None:
    figure.legend(*figure.axes[-1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)


_UNITS = "in percent except uniformity, alignment, effective rank, temperatures, and errors in the unit of a target"
SECTIONS = (
    Section(
        "Representation",
        f"measures of test samples over epochs, mean over seeds; {_UNITS}",
        RepresentationRow,
        over_epochs,
    ),
    Section(
        "Representation and temperature",
        f"final measures of test samples over temperatures, mean and standard deviation over seeds; {_UNITS}",
        RepresentationRow,
        over_temperatures,
    ),
)

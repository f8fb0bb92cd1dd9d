"""Sections of class-incremental tasks: accuracy curves, accuracy matrices, forgetting per class, and streams."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, MultipleLocator

from mmcl.reports.drawing import GRID, HEAT, INK, as_svg, line_styles, panel_title, plain_axes, strategy_colours
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import EvaluationRow, Seed, StreamRow
from mmcl.reports.tables import html_table
from mmcl.text.escape import figure_text, html_text

_MAX_CLASSES = 60  # bars of a forgetting panel


def accuracy_curves(strategies: Sequence[StrategyResults]) -> str:
    """Plot the accuracy on all classes seen so far over their number: the mean as a line, the deviation as a band."""
    styles = line_styles(strategies)
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    ticks: set[int] = set()
    for each in strategies:
        points = each.accuracy_by_classes()
        if not points:
            continue
        ticks |= set(points)
        x, mean = list(points), [100 * average.mean for average in points.values()]
        std = [100 * (average.std or 0.0) for average in points.values()]
        style = styles[each.label]
        axes.plot(x, mean, **style, markersize=4.5, linewidth=1.8, label=figure_text(each.label))
        if any(std):
            low, high = ([m + sign * s for m, s in zip(mean, std, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    if not ticks:
        return ""
    by_domain = any(row.domains for each in strategies for row in each.streams.values())
    axes.set(xlabel="domains seen" if by_domain else "classes seen", ylabel="accuracy on them (%)", ylim=(0, 102))
    if len(ticks) <= 12:
        axes.set_xticks(sorted(ticks))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GRID)
    plain_axes(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return as_svg(figure, "Accuracy over the classes seen so far")


def accuracy_matrices(strategies: Sequence[StrategyResults]) -> str:
    """Draw one heat map per strategy: mean accuracy on each experience after training on each experience."""
    matrices = [(each.label, matrix) for each in strategies if (matrix := each.matrix())]
    if not matrices:
        return ""
    columns = min(len(matrices), 4)
    rows = ceil(len(matrices) / columns)
    figure = Figure(figsize=(2.5 * columns + 0.4, 2.7 * rows), layout=ConstrainedLayoutEngine(hspace=0.08))
    for index, (label, matrix) in enumerate(matrices, start=1):
        axes = figure.add_subplot(rows, columns, index)
        size = max(len(matrix), len(matrix[0]))
        cells = np.array(matrix, dtype=float)  # None becomes NaN
        not_yet_seen = np.triu(np.ones(cells.shape, dtype=bool), k=1)
        if not np.nan_to_num(cells[not_yet_seen]).any():
            cells[not_yet_seen] = np.nan
        edges = [np.arange(length + 1) - 0.5 for length in (cells.shape[1], cells.shape[0])]
        frames = {"edgecolors": "white", "linewidth": 1.5} if size <= 30 else {"rasterized": True}
        axes.pcolormesh(*edges, np.ma.masked_invalid(cells), cmap=HEAT, vmin=0.0, vmax=1.0, **frames)
        for i, j in np.argwhere(np.isfinite(cells)) if size <= 12 else []:
            text = axes.text(j, i, f"{100 * cells[i, j]:.0f}", ha="center", va="center", fontsize=9 if size <= 7 else 6)
            text.set_color("white" if cells[i, j] > 0.45 else INK)
            text.set_in_layout(False)  # it lies inside the axes, and measuring it is slow
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        axes.set_aspect("equal")
        panel_title(axes, label)
        ticks = range(0, size, ceil(size / 12))
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_xlabel("tested on experience")
        if index % columns == 1 or columns == 1:
            axes.set_ylabel("after experience")
        plain_axes(axes, frame=False)
    return as_svg(figure, "Accuracy matrices")


def class_forgetting(strategies: Sequence[StrategyResults]) -> str:
    """Draw the forgetting of each class in one panel per strategy, with the most forgotten class on top.

    Only the 60 most forgotten classes are drawn.
    """
    drops = {each.label: found for each in strategies if (found := each.forgetting_by_class())}
    if not drops:
        return ""
    classes = sorted({name for found in drops.values() for name in found})
    classes.sort(key=lambda name: sum(found.get(name, 0.0) for found in drops.values()))
    total, classes = len(classes), classes[-_MAX_CLASSES:]
    colours = strategy_colours(strategies)
    lowest = min(0.0, *(100 * found.get(name, 0.0) for found in drops.values() for name in classes))
    columns = min(len(drops), 4)
    rows = ceil(len(drops) / columns)
    figure = Figure(
        figsize=(2.0 + 2.0 * columns, rows * (0.9 + 0.2 * len(classes))),
        layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.04),
    )
    shared: Axes | None = None
    for index, each in enumerate((each for each in strategies if each.label in drops), start=1):
        shared = axes = figure.add_subplot(rows, columns, index, sharey=shared)
        values = [100 * drops[each.label].get(name, 0.0) for name in classes]
        axes.barh(range(len(classes)), values, color=colours[each.strategy], height=0.7)
        panel_title(axes, each.label)
        shown = "" if total == len(classes) else f", {len(classes)} of {total} classes"
        axes.set(xlim=(lowest - (2 if lowest else 0), 102), xlabel=f"forgetting (%){shown}")
        axes.set_ylim(-0.6, len(classes) - 0.4)
        axes.xaxis.set_major_locator(MultipleLocator(50))
        axes.set_yticks(range(len(classes)), [figure_text(name) for name in classes])
        axes.tick_params(axis="y", labelleft=index % columns == 1 or columns == 1)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.grid(axis="x", color=GRID)
        plain_axes(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return as_svg(figure, "Forgetting by class")


def stream_tables(strategies: Sequence[StrategyResults]) -> str:
    """List the classes and sample counts of each experience, in one folded table per run and seed.

    Strategies share a stream, except those that train on all classes at once; the longest stream is shown.
    """
    longest: dict[tuple[str, Seed], StreamRow] = {}
    for each in strategies:
        for seed, stream in each.streams.items():
            known = longest.setdefault((each.run, seed), stream)
            if len(stream.experiences) > len(known.experiences):
                longest[each.run, seed] = stream
    several = len({run for run, _ in longest}) > 1
    parts = []
    for (run, seed), stream in longest.items():
        label = f"{run}, seed {seed}" if several else f"seed {seed}"
        parts.append(f"<details><summary>{html_text(label)}</summary>{_stream_table(stream)}</details>")
    return "".join(parts)


def _stream_table(stream: StreamRow) -> str:
    unknown = ["-"] * len(stream.experiences)
    columns = stream.domains or stream.experiences, stream.train_sizes or unknown, stream.test_sizes or unknown
    rows = [
        [str(index), ", ".join(classes), str(train), str(test)]
        for index, (classes, train, test) in enumerate(zip(*columns, strict=False), start=1)
    ]
    return html_table(["experience", "domains" if stream.domains else "classes", "train samples", "test samples"], rows)


SECTIONS = (
    Section(
        "Accuracy over experiences",
        "line: mean over seeds, band: standard deviation",
        EvaluationRow,
        accuracy_curves,
    ),
    Section("Accuracy matrices", "test accuracy in percent, mean over seeds", EvaluationRow, accuracy_matrices),
    Section(
        "Forgetting per class",
        "best accuracy so far minus last, mean over seeds",
        EvaluationRow,
        class_forgetting,
    ),
    Section("Streams", "the classes of each experience, in training order", StreamRow, stream_tables),
)

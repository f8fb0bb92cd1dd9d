"""The plots of a report, as SVG text: accuracy over classes, accuracy matrices, forgetting by class."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from io import StringIO
from itertools import cycle
from math import ceil
from threading import Lock
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, MultipleLocator

from mmcl.reports.results import StrategyResults
from mmcl.text.escape import figure_text

INK, GRID = "#333333", "#e4e4e4"
#: Bounds in grey and black, all others in the colours of Okabe and Ito, told apart by the colour-blind.
_FIXED = {
    "naive": "#8a8a8a",
    "offline": "#222222",
    "joint": "#222222",
    "replay": "#0072b2",
    "coconut": "#d55e00",
    "lwf": "#009e73",
    "icarl": "#cc79a7",
}
_OTHERS = ("#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#0072b2", "#d55e00")
_LINES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_MOST = 60  #: classes that have a bar
_DRAWING = Lock()  # settings of matplotlib and of warnings are shared by all threads
HEAT = LinearSegmentedColormap.from_list("heat", ["#e9f0f7", "#b5d1e8", "#5599cc", "#1a5f9e", "#08306b"])


def accuracy_curves(strategies: Sequence[StrategyResults]) -> str:
    """Draw accuracy on the classes seen so far over their number: a line for the mean, a band for the deviation."""
    colours = strategy_colours(strategies)
    runs = list(dict.fromkeys(each.run for each in strategies))
    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    ticks: set[int] = set()
    for each in strategies:
        points = each.accuracy_by_classes()
        if not points:
            continue
        ticks |= set(points)
        x, mean = list(points), [100 * estimate.mean for estimate in points.values()]
        deviation = [100 * (estimate.deviation or 0.0) for estimate in points.values()]
        style = runs.index(each.run)
        axes.plot(
            x,
            mean,
            color=colours[each.strategy],
            linestyle=_LINES[style % len(_LINES)],
            marker=_MARKERS[style % len(_MARKERS)],
            markersize=4.5,
            linewidth=1.8,
            label=figure_text(each.label),
        )
        if any(deviation):
            low, high = ([m + sign * d for m, d in zip(mean, deviation, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=colours[each.strategy], alpha=0.15, linewidth=0)
    if not ticks:
        return ""
    axes.set(xlabel="classes seen", ylabel="accuracy on them (%)", ylim=(0, 102))
    if len(ticks) <= 12:
        axes.set_xticks(sorted(ticks))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=GRID)
    plain_axes(axes)
    figure.legend(loc="outside right upper", frameon=False)
    return as_svg(figure, "Accuracy over the classes seen so far")


def accuracy_matrices(strategies: Sequence[StrategyResults]) -> str:
    """Draw a heat map for each strategy: accuracy on each experience after training on each, mean over seeds."""
    matrices = [(each.label, matrix) for each in strategies if (matrix := each.matrix())]
    if not matrices:
        return ""
    columns = min(len(matrices), 4)
    rows = ceil(len(matrices) / columns)
    figure = Figure(figsize=(2.5 * columns + 0.4, 2.7 * rows), layout=ConstrainedLayoutEngine(hspace=0.08))
    for place, (label, matrix) in enumerate(matrices, start=1):
        axes = figure.add_subplot(rows, columns, place)
        size = max(len(matrix), len(matrix[0]))
        cells = np.array(matrix, dtype=float)  # missing ones become nan
        not_yet_seen = np.triu(np.ones(cells.shape, dtype=bool), k=1)
        if not np.nan_to_num(cells[not_yet_seen]).any():
            cells[not_yet_seen] = np.nan
        edges = [np.arange(length + 1) - 0.5 for length in (cells.shape[1], cells.shape[0])]
        colours: dict[str, Any] = {"cmap": HEAT, "vmin": 0.0, "vmax": 1.0}
        frames = {"edgecolors": "white", "linewidth": 1.5} if size <= 30 else {"rasterized": True}
        axes.pcolormesh(*edges, np.ma.masked_invalid(cells), **colours, **frames)
        for i, j in np.argwhere(np.isfinite(cells)) if size <= 12 else []:
            style: dict[str, Any] = {"color": "white" if cells[i, j] > 0.45 else INK, "fontsize": 9 if size <= 7 else 6}
            text = axes.text(j, i, f"{100 * cells[i, j]:.0f}", ha="center", va="center", **style)
            text.set_in_layout(False)  # it is inside, and measuring it takes time
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        axes.set_aspect("equal")
        axes.set_title(figure_text(label), fontsize=10, color=INK)
        ticks = range(0, size, ceil(size / 12))
        axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_yticks(ticks, [str(tick + 1) for tick in ticks])
        axes.set_xlabel("tested on experience")
        if place % columns == 1 or columns == 1:
            axes.set_ylabel("after experience")
        plain_axes(axes, frame=False)
    return as_svg(figure, "Accuracy matrices")


def class_forgetting(strategies: Sequence[StrategyResults]) -> str:
    """Draw forgetting by class, best accuracy so far minus last: a panel for each strategy, most forgotten on top; of
    more than 60 classes, those that are forgotten most."""
    drops = {each.label: found for each in strategies if (found := each.forgetting_by_class())}
    if not drops:
        return ""
    classes = sorted({name for found in drops.values() for name in found})
    classes.sort(key=lambda name: sum(found.get(name, 0.0) for found in drops.values()))
    total, classes = len(classes), classes[-_MOST:]
    colours = strategy_colours(strategies)
    lowest = min(0.0, *(100 * found.get(name, 0.0) for found in drops.values() for name in classes))
    columns = min(len(drops), 4)
    rows = ceil(len(drops) / columns)
    figure = Figure(
        figsize=(2.0 + 2.0 * columns, rows * (0.9 + 0.2 * len(classes))),
        layout=ConstrainedLayoutEngine(wspace=0.04, hspace=0.04),
    )
    shared: Any = None
    for place, each in enumerate((each for each in strategies if each.label in drops), start=1):
        shared = axes = figure.add_subplot(rows, columns, place, sharey=shared)
        values = [100 * drops[each.label].get(name, 0.0) for name in classes]
        axes.barh(range(len(classes)), values, color=colours[each.strategy], height=0.7)
        axes.set_title(figure_text(each.label), fontsize=10, color=INK)
        shown = "" if total == len(classes) else f", {len(classes)} of {total} classes"
        axes.set(xlim=(lowest - (2 if lowest else 0), 102), xlabel=f"forgetting (%){shown}")
        axes.set_ylim(-0.6, len(classes) - 0.4)
        axes.xaxis.set_major_locator(MultipleLocator(50))
        axes.set_yticks(range(len(classes)), [figure_text(name) for name in classes])
        axes.tick_params(axis="y", labelleft=place % columns == 1 or columns == 1)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.grid(axis="x", color=GRID)
        plain_axes(axes)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
    return as_svg(figure, "Forgetting by class")


def strategy_colours(strategies: Sequence[StrategyResults]) -> dict[str, str]:
    """Give each strategy its colour, the same in every report."""
    names = list(dict.fromkeys(each.strategy for each in strategies))
    taken = {_FIXED[name] for name in names if name in _FIXED}
    others = cycle([colour for colour in _OTHERS if colour not in taken])
    return {name: _FIXED.get(name) or next(others) for name in names}


def plain_axes(axes: Any, frame: bool = True) -> None:
    """Draw axes in grey, with no frame but left and below."""
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3 if frame else 0)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(frame and side in ("left", "bottom"))
        spine.set_color("#999999")


def as_svg(figure: Figure, title: str) -> str:
    """Return the figure as an ``<svg>`` element: text stays text, and no id is that of another figure of the page."""
    out = StringIO()
    with _DRAWING, rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        # The text stays text, which a browser draws in whatever font has the characters.
        warnings.filterwarnings("ignore", "(?s).*(Glyph .* missing from|does not support .* natively)")
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # names that leave no room
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*"', "<g", svg).replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)

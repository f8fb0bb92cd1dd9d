"""Section of class-incremental tasks: accuracy against the memory that a strategy keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10

from matplotlib.figure import Figure

from mmcl.reports.drawing import GRID, INK, as_svg, line_styles, plain_axes
from mmcl.reports.figures import Section
from mmcl.reports.results import StrategyResults
from mmcl.reports.row_types import ResultRow
from mmcl.text.escape import figure_text

Point = tuple[float, float]
# Width of a character, height of a label, and half the size of a marker, as shares of the axes.
_CHARACTER, _LINE, _MARKER = 0.0088, 0.04, 0.01


def accuracy_against_memory(strategies: Sequence[StrategyResults]) -> str:
    """Plot the last accuracy over the bytes kept, with the deviation over seeds as a bar; "" for fewer than two."""
    styles = line_styles(strategies)
    figure = Figure(figsize=(8.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    points: dict[str, Point] = {}
    for each in strategies:
        kept, accuracy = each.measure("memory_bytes"), each.measure("last_accuracy")
        if kept is None or accuracy is None:
            continue
        points[each.label] = kibibytes, percent = kept.mean / 1024, 100 * accuracy.mean
        style = styles[each.label]
        axes.errorbar(
            [kibibytes],
            [percent],
            yerr=[100 * accuracy.std] if accuracy.std else None,
            color=style["color"],
            marker=style["marker"],
            linestyle="none",
            markersize=7,
            capsize=3,
        )
    if len(points) < 2:
        return ""
    above = [kibibytes for kibibytes, _ in points.values() if kibibytes > 0]
    start = 10.0 ** floor(log10(min(above, default=1.0)))
    axes.set_xscale("symlog", linthresh=start, linscale=0.3)  # strategies without memory are at 0
    axes.set(xlabel="exemplars and statistics kept (KiB)", ylabel="last accuracy (%)", ylim=(0, 102))
    axes.set_xlim(-start / 4, 4 * max(above, default=1.0))  # leaves room for labels
    axes.grid(color=GRID)
    plain_axes(axes)
    to_share = axes.transScale + axes.transLimits
    shares: dict[str, Point] = {label: tuple(to_share.transform(point)) for label, point in points.items()}
    for label, (x, y) in label_places(shares).items():
        axes.text(x, y, figure_text(label), transform=axes.transAxes, fontsize=8, va="center", color=INK)
        if y != shares[label][1]:  # a line from the point to its label
            ends = zip(shares[label], (x - 0.002, y), strict=True)
            axes.plot(*ends, transform=axes.transAxes, color=styles[label]["color"], linewidth=0.7)
    return as_svg(figure, "Accuracy against memory")


def label_places(points: Mapping[str, Point]) -> dict[str, Point]:
    """Return where labels start, right of their points, so that they cover neither each other nor other points.

    Where there is no room, a label stays beside its point.

    Args:
        points: points by label, as shares of width and height of the axes.

    >>> label_places({"replay": (0.1, 0.5), "agem": (0.1, 0.49), "naive": (0.5, 0.2)})
    {'replay': (0.115, 0.5), 'agem': (0.115, 0.45), 'naive': (0.515, 0.2)}
    """
    taken = [(x - _MARKER, x + _MARKER, y, _MARKER) for x, y in points.values()]  # left, right, middle, half the height
    places: dict[str, Point] = {}
    for label, (x, y) in sorted(points.items(), key=lambda item: item[1][1], reverse=True):
        left, right = x + 0.015, x + 0.015 + _CHARACTER * len(label)
        middles = [y + sign * step * _LINE / 2 for step in range(round(2 / _LINE)) for sign in (-1, 1)]
        free = [
            middle
            for middle in middles
            if 0 < middle < 1
            and not any(
                left < end and start < right and abs(middle - other) < half + _LINE / 2 - 1e-9
                for start, end, other, half in taken
            )
        ]
        middle = free[0] if free else y
        taken.append((left, right, middle, _LINE / 2))
        places[label] = (round(left, 4), middle if middle == y else round(middle, 4))
    return {label: places[label] for label in points}


SECTIONS = [
    Section(
        "Accuracy against memory",
        "Last accuracy, and bytes of the exemplars and statistics that a strategy keeps for later experiences. Copies "
        "of the model, such as a teacher, are not counted.",
        ResultRow,
        accuracy_against_memory,
    )
]

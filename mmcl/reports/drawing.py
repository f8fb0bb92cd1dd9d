"""Colours, axes and SVG output shared by the figures of a report."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from io import StringIO
from itertools import cycle
from threading import Lock
from typing import TypedDict

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from mmcl.reports.results import StrategyResults
from mmcl.reports.tables import folded
from mmcl.text.escape import figure_text

INK, GRID, GREY = "#333333", "#e4e4e4", "#8a8a8a"
#: Distinct colours for any series. The first six are those of Okabe and Ito, which colour-blind readers can tell apart.
PALETTE = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#3d0f8c",
    "#9e2a2b",
    "#b3de69",
    "#5e3c00",
    "#e7298a",
    "#00441b",
)
#: Sequential colours for values from 0 to 1.
HEAT = LinearSegmentedColormap.from_list("heat", ["#e9f0f7", "#b5d1e8", "#5599cc", "#1a5f9e", "#08306b"])
_FIXED = {  # lower and upper bounds are grey, brown and black
    "naive": GREY,
    "offline": PALETTE[9],
    "joint": "#222222",
    "replay": PALETTE[0],
    "coconut": PALETTE[1],
    "lwf": PALETTE[2],
    "icarl": PALETTE[3],
}
_LINES = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LOCK = Lock()  # settings of matplotlib and warnings are shared by all threads


class Style(TypedDict):
    """Keyword arguments of matplotlib that tell strategies and runs apart."""

    color: str
    linestyle: str | tuple[float, tuple[float, ...]]
    marker: str


def strategy_colours(strategies: Sequence[StrategyResults]) -> dict[str, str]:
    """Assign a colour to each strategy; well-known strategies have the same one in every report."""
    names = list(dict.fromkeys(each.strategy for each in strategies))
    taken = {_FIXED[name] for name in names if name in _FIXED}
    others = cycle([colour for colour in PALETTE if colour not in taken])
    return {name: _FIXED.get(name) or next(others) for name in names}


def line_styles(strategies: Sequence[StrategyResults]) -> dict[str, Style]:
    """Assign line styles by label: the colour follows the strategy, line and marker follow the run.

    If there are more strategies than colours, line and marker also differ between strategies of the same colour.
    """
    colours = strategy_colours(strategies)
    runs = list(dict.fromkeys(each.run for each in strategies))
    alike = {name: [other for other in colours if colours[other] == colours[name]].index(name) for name in colours}
    styles: dict[str, Style] = {}
    for each in strategies:
        index = runs.index(each.run) + alike[each.strategy]
        styles[each.label] = {
            "color": colours[each.strategy],
            "linestyle": _LINES[index % len(_LINES)],
            "marker": _MARKERS[index % len(_MARKERS)],
        }
    return styles


def series_style(index: int) -> tuple[str, str]:
    """Return the colour and marker of the series with an index; the marker changes when the palette repeats.

    >>> series_style(0), series_style(len(PALETTE))
    (('#0072b2', 'o'), ('#0072b2', 's'))
    """
    return PALETTE[index % len(PALETTE)], _MARKERS[index // len(PALETTE) % len(_MARKERS)]


def plain_axes(axes: Axes, frame: bool = True) -> None:
    """Draw axes in grey, with spines only on the left and at the bottom, or none without ``frame``."""
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3 if frame else 0)
    axes.xaxis.label.set(color=INK, fontsize=9)
    axes.yaxis.label.set(color=INK, fontsize=9)
    for side, spine in axes.spines.items():
        spine.set_visible(frame and side in ("left", "bottom"))
        spine.set_color("#999999")


def panel_title(axes: Axes, label: str) -> None:
    """Set the title of one of several panels in a row; long labels take several lines."""
    axes.set_title("\n".join(figure_text(line) for line in folded(label, 24)), fontsize=10, color=INK)


def as_svg(figure: Figure, title: str) -> str:
    """Return the figure as an ``<svg>`` element.

    Text stays text. Ids are unique on a page with several figures.
    """
    out = StringIO()
    with _LOCK, rc_context({"svg.fonttype": "none", "svg.hashsalt": title}), warnings.catch_warnings():
        # Text is drawn by the browser, in any font that has the characters.
        warnings.filterwarnings("ignore", "(?s).*(Glyph .* missing from|does not support .* natively)")
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # long names leave no room
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Title": title})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'<g id="[^"]*"', "<g", svg).replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)

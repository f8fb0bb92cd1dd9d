"""The plot of the README: accuracy on all classes after the last experience, by strategy, with one panel per data set.

Strategies are grouped by what they keep, and sorted by accuracy. Error bars are standard deviations over seeds.

mmcl run slu_incremental --config barista --folder runs/barista
mmcl run slu_incremental --config fsdd --folder runs/fsdd
python tests/benchmarks/accuracy_plot.py "coffee orders=runs/barista" "spoken digits=runs/fsdd" accuracy.svg

A panel may take several runs, as in "coffee orders=runs/barista,runs/read_outs".
"""

from __future__ import annotations

import argparse

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmcl.reports.drawing import GREY, INK, PALETTE, plain_axes
from mmcl.reports.results import MeanStd, collect
from mmcl.sections.strategy_names import REHEARSAL, base_of

COLOURS = {"no exemplars": PALETTE[0], "with exemplars": PALETTE[1], "all data": GREY}
_ROW, _MARGINS = 0.19, 0.75  # inches


def group_of(strategy: str) -> str:
    """Return which samples of earlier experiences a strategy keeps.

    >>> [group_of(name) for name in ("slda", "ewc@slda", "coconut@slda", "er_ace", "joint")]
    ['no exemplars', 'no exemplars', 'with exemplars', 'with exemplars', 'all data']
    """
    base = base_of(strategy)
    if base in ("joint", "offline"):
        return "all data"
    return "with exemplars" if base in ("replay", "icarl", "coconut", *REHEARSAL) else "no exemplars"


def last_accuracies(runs: list[str]) -> dict[str, dict[str, MeanStd]]:
    """Return the last accuracy of each strategy by group, highest first; that of the last run if it is in several."""
    found = {each.strategy: each.measure("last_accuracy") for each in collect(runs)}
    known = sorted(((last.mean, name) for name, last in found.items() if last), reverse=True)
    groups = {group: {name: found[name] for _, name in known if group_of(name) == group} for group in COLOURS}
    return {group: {name: last for name, last in own.items() if last} for group, own in groups.items() if own}


def rows_of(groups: dict[str, dict[str, MeanStd]]) -> int:
    """Return the number of rows of a panel: its bars, and a heading for each group."""
    return sum(1 + len(own) for own in groups.values())


def draw(axes: Axes, title: str, groups: dict[str, dict[str, MeanStd]], rows: int) -> None:
    """Draw a panel from the top, with as many rows as the highest panel."""
    plain_axes(axes)
    axes.set_title(title, fontsize=10, color=INK)
    axes.set(xlim=(0, 100), ylim=(rows - 0.4, -0.6), xlabel="accuracy after the last experience (%)")
    ticks, row = {}, 0
    for group, strategies in groups.items():
        # In the column of the names, above those of the group.
        axes.annotate(group, (0, row), (-4, 0), textcoords="offset points", ha="right", va="center", fontsize=8.5)
        axes.texts[-1].set(fontweight="bold", color=COLOURS[group], annotation_clip=False)
        for name, last in strategies.items():
            row += 1
            ticks[row] = name
            mean, std = 100 * last.mean, 100 * (last.std or 0)
            axes.barh(row, mean, 0.72, xerr=std, color=COLOURS[group], ecolor=INK, error_kw={"elinewidth": 0.9})
            axes.text(102, row, last.text(), va="center", fontsize=8, color=INK)
        row += 1
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8.5)
    axes.tick_params(axis="y", length=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("panels", nargs="+", metavar="TITLE=RUN", help="title of a panel, and folder of its run")
    parser.add_argument("file", help="SVG file to write")
    arguments = parser.parse_args()
    panels = {}
    for panel in arguments.panels:
        title, _, runs = panel.partition("=")
        panels[title] = last_accuracies(runs.split(","))
    rows = max(map(rows_of, panels.values()))
    with rc_context({"svg.hashsalt": "accuracy"}):
        figure = Figure((8.2, _MARGINS + _ROW * rows), layout="constrained")
        for axes, (title, groups) in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
        ):
            draw(axes, title, groups, rows)
        figure.savefig(arguments.file, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()

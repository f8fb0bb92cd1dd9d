"""The plot of the README: accuracy on all classes after the last experience, by strategy, with one panel per run.

mmcl run slu_incremental --config barista --folder runs/barista
mmcl run slu_incremental --config fsdd --folder runs/fsdd
python tests/benchmarks/accuracy_plot.py "coffee orders=runs/barista" "spoken digits=runs/fsdd" accuracy.svg
"""

from __future__ import annotations

import argparse

from matplotlib import rc_context
from matplotlib.figure import Figure

from mmcl.reports.drawing import INK, plain_axes, strategy_colours
from mmcl.reports.results import collect


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="TITLE=RUN", help="title of a panel, and folder of its run")
    parser.add_argument("file", help="SVG file to write")
    arguments = parser.parse_args()
    with rc_context({"svg.hashsalt": "accuracy"}):
        figure = Figure((8.2, 2.5), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(arguments.runs), squeeze=False)[0], arguments.runs, strict=True):
            title, _, run = panel.partition("=")
            plain_axes(axes)
            axes.set_title(title, fontsize=9)
            axes.set_xlim(0, 118)
            axes.set_xlabel("accuracy after the last experience (%)")
            strategies = collect([run])
            colours = strategy_colours(strategies)
            for each in strategies:
                if last := each.measure("last_accuracy"):
                    mean, std = 100 * last.mean, 100 * (last.std or 0)
                    axes.barh(each.strategy, mean, 0.65, xerr=std, color=colours[each.strategy], ecolor=INK)
                    axes.text(mean + std + 1, each.strategy, last.text(), va="center", fontsize=8, color=INK)
            axes.invert_yaxis()
        figure.savefig(arguments.file, format="svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()

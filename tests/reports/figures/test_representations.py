"""The figure of a representation's measures over epochs."""

from matplotlib.axes import Axes

from mmcl.reports.figures.representations import curves
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row


def row(strategy, seed, epoch, **measures):
    kinds = {"kind": "representation", "strategy": strategy, "seed": seed, "epoch": epoch}
    return {**kinds, "measures": {name.replace("_", " "): value for name, value in measures.items()}}


def test_lines_are_means_over_seeds_in_units_of_each_measure(monkeypatch):
    drawn, plot = [], Axes.plot

    def spy(self, x, y, **options):
        drawn.append((options["label"], dict(zip(x, y, strict=True))))
        return plot(self, x, y, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    rows = [
        row("nt_xent", seed, epoch, linear_probe=0.5 + 0.2 * seed, uniformity=-float(epoch))
        for seed in (0, 1)
        for epoch in (2, 4)
    ]
    svg = curves(by_strategy(map(parse_row, rows), "run", ""))
    assert svg.startswith("<svg") and "linear probe" in svg
    assert drawn == [("nt_xent", {2: 60.0, 4: 60.0}), ("nt_xent", {2: -2.0, 4: -4.0})]


def test_nothing_is_drawn_without_rows():
    assert curves([]) == ""

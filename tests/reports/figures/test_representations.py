"""The figure of a representation's measures over epochs."""

from matplotlib.axes import Axes

from mmcl.reports.figures.representations import over_epochs, over_temperatures
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
    svg = over_epochs(by_strategy(map(parse_row, rows), "run", ""))
    assert svg.startswith("<svg") and "linear probe" in svg
    assert drawn == [("nt_xent", {2: 60.0, 4: 60.0}), ("nt_xent", {2: -2.0, 4: -4.0})]


def test_nothing_is_drawn_without_rows():
    assert over_epochs([]) == ""


def test_measures_of_one_objective_are_drawn_over_its_temperatures(monkeypatch):
    drawn, plot = [], Axes.errorbar

    def spy(self, x, y, yerr, **options):
        drawn.append((options["label"], list(x), [round(each, 6) for each in y], [round(each, 3) for each in yerr]))
        return plot(self, x, y, yerr=yerr, **options)

    monkeypatch.setattr(Axes, "errorbar", spy)
    # A sum counts if its last objective has a temperature.
    values = {"nt_xent@0.5": 0.7, "nt_xent@0.1": 0.5, "nt_xent": 0.9, "sup_con@0.1+l1": 0.6, "clip@0.2": 0.3}
    rows = [
        made
        for name, value in values.items()
        for seed in (0, 1)
        for made in (
            row(name, seed, 4, linear_probe=value),
            {"kind": "result", "strategy": name, "seed": seed, "measures": {"linear probe": value + 0.1 * seed}},
        )
    ]
    svg = over_temperatures(by_strategy(map(parse_row, rows), "run", ""))
    assert svg.startswith("<svg") and "temperature" in svg
    assert drawn == [("nt_xent", [0.1, 0.5], [55.0, 75.0], [7.071, 7.071])]
    assert over_temperatures(by_strategy(map(parse_row, rows[-4:]), "run", "")) == ""

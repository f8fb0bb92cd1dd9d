"""The figure of the training loss."""

from matplotlib.axes import Axes

from mmcl.reports.figures.losses import losses
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row


def results(rows, run="run"):
    return by_strategy(map(parse_row, rows), run, f"{run}/")


def epoch(strategy, seed, number, loss, **more):
    return {"kind": "epoch", "strategy": strategy, "seed": seed, "epoch": number, "loss": loss, **more}


def test_lines_are_means_over_seeds(monkeypatch):
    drawn, plot = {}, Axes.plot

    def spy(self, x, y, **options):
        drawn[options["label"]] = dict(zip(x, y, strict=True))
        return plot(self, x, y, **options)

    monkeypatch.setattr(Axes, "plot", spy)
    rows = [epoch("clip", 0, 1, 3.0), epoch("clip", 1, 1, 2.0), epoch("cwcl", 0, 1, 5.0), epoch("cwcl", 0, 2, 4.0)]
    svg = losses(results(rows))
    assert svg.startswith("<svg") and drawn == {"run/clip": {1: 2.5}, "run/cwcl": {1: 5.0, 2: 4.0}}


def test_runs_are_not_averaged_with_each_other(monkeypatch):
    rows = [epoch("clip", 0, 1, 3.0)]
    svg = losses([*results(rows, "a"), *results([epoch("clip", 0, 1, 1.0)], "b")])
    assert ">a/clip<" in svg and ">b/clip<" in svg


def test_losses_of_experiences_are_not_drawn():
    assert losses([]) == losses(results([epoch("replay", 0, 1, 1.0, experience=0)])) == ""

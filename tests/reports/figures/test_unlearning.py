"""The figure of unlearning."""

import re

from mmcl.reports.drawing import PALETTE
from mmcl.reports.figures.unlearning import distances
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row


def results(rows):
    return by_strategy(map(parse_row, rows), "run")


def row(name, seed, *, forgotten, **more):
    measures = {"Train_r": 0.99, "Train_f": forgotten, "Test": 0.97, "attack": 0.5, "loss attack": 0.5}
    return {"kind": "result", "strategy": name, "seed": seed, "measures": measures | more, "seconds": 1.0}


def rows():
    near = {"distance to Retrain": 0.02, "time / Retrain's": 0.1}
    return [
        each
        for seed in (0, 1)
        for each in (row("retrain", seed, forgotten=0.5), row("laf & r", seed, forgotten=0.4, **near))
    ]


def test_methods_are_drawn_by_distance_time_and_measure():
    drawn = distances(results(rows()))
    assert drawn.startswith("<svg")
    for text in ("laf &amp; r", "distance to Retrain", "Train_f", "attack"):
        assert text in drawn
    assert ">loss attack<" not in drawn and ">seed<" not in drawn
    more = [*rows(), row("fine_tune", 0, forgotten=0.9, **{"distance to Retrain": 0.2, "time / Retrain's": 0.3})]
    again = distances(results(more))
    assert "fine_tune" in again and "fine_tune" not in drawn
    second = rf"<use [^>]*fill: {PALETTE[1]}"  # the second method: one point left, one per measure right
    assert len(re.findall(second, again)) - len(re.findall(second, drawn)) >= 5


def test_nothing_is_drawn_without_distances():
    other = [{"kind": "epoch", "strategy": "laf", "seed": 0, "epoch": 1, "loss": 1.0}, row("coconut", 0, forgotten=1.0)]
    assert distances([]) == distances(results(other)) == ""


def test_each_run_is_compared_with_its_own_retrain():
    """The difference of a measure does not depend on the other runs of a report."""
    other = [row("retrain", seed, forgotten=0.9) for seed in (0, 1)]
    first = results(rows())
    second = by_strategy(map(parse_row, other), "other", "other/")
    assert distances([*first, *second]) == distances(first)

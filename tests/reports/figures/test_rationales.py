"""The figure of rationale distillation."""

import re

import pytest
from matplotlib.axes import Axes

from mmcl.reports.figures.rationales import answer_accuracy
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row


def results(rows):
    return by_strategy(map(parse_row, rows), "run")


def rows():
    epochs = [
        {
            "kind": "epoch",
            "strategy": name,
            "seed": seed,
            "epoch": epoch,
            "loss": 1.0,
            "valid_accuracy": 0.1 * epoch + 0.01 * seed,
        }
        for name in ("finetune", "qcrd")
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]
    results = [
        {"kind": "result", "strategy": "qcrd", "seed": seed, "measures": {"accuracy": 0.2 + 0.1 * seed}}
        for seed in (0, 1)
    ]
    return epochs + results


def test_methods_are_drawn_over_epochs_and_on_the_test_split():
    drawn = answer_accuracy(results(rows()))
    assert drawn.startswith("<svg") and drawn.count(">finetune<") == 2 and drawn.count(">qcrd<") == 2
    without = answer_accuracy(results([row for row in rows() if row["kind"] == "epoch"]))
    points = [len(re.findall(r"<use [^>]*opacity: 0.7", each)) for each in (drawn, without)]
    assert points == [2, 0]  # one point per seed


def test_band_is_the_sample_deviation(monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "fill_between", lambda self, x, low, high, **_: drawn.append((x, low, high)))
    answer_accuracy(results([row for row in rows() if row["strategy"] == "qcrd"]))
    ((x, low, high),) = drawn
    assert x == [1, 2, 3]
    deviation = 2**-0.5  # of two values 1 % apart
    assert low.tolist() == pytest.approx([10.5 - deviation, 20.5 - deviation, 30.5 - deviation])
    assert high.tolist() == pytest.approx([10.5 + deviation, 20.5 + deviation, 30.5 + deviation])
    answer_accuracy(results([row for row in rows() if row["seed"] == 0 and row["strategy"] == "qcrd"]))
    assert drawn[1][1].tolist() == drawn[1][2].tolist()  # one seed has no deviation


def test_nothing_is_drawn_without_validation_accuracy():
    other = [{"kind": "epoch", "strategy": "clip", "seed": 0, "epoch": 1, "loss": 1.0}]
    assert answer_accuracy([]) == answer_accuracy(results(other)) == ""

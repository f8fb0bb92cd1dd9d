import re

import pytest
from matplotlib.axes import Axes

from mmcl.reports.figures import rationales as rationale_figures


def rows():
    epochs = [
        {"kind": "epoch", "strategy": name, "seed": seed, "epoch": epoch, "valid_accuracy": 0.1 * epoch + 0.01 * seed}
        for name in ("finetune", "qcrd")
        for seed in (0, 1)
        for epoch in (1, 2, 3)
    ]
    results = [
        {"kind": "result", "strategy": "qcrd", "seed": seed, "measures": {"accuracy": 0.2 + 0.1 * seed}}
        for seed in (0, 1)
    ]
    return epochs + results


def test_methods_are_drawn_over_epochs_and_where_they_end():
    drawn = rationale_figures.answers(rows())
    assert drawn.startswith("<svg") and drawn.count(">finetune<") == 2 and drawn.count(">qcrd<") == 2
    without = rationale_figures.answers([row for row in rows() if row["kind"] == "epoch"])
    points = [len(re.findall(r"<use [^>]*opacity: 0.7", each)) for each in (drawn, without)]
    assert points == [2, 0]  # a point for each seed


def test_the_band_is_the_sample_deviation(monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, "fill_between", lambda self, x, low, high, **_: drawn.append((x, low, high)))
    rationale_figures.answers([row for row in rows() if row["strategy"] == "qcrd"])
    ((x, low, high),) = drawn
    assert x == [1, 2, 3]
    deviation = 2**-0.5  # of two values that lie 1 % apart
    assert low.tolist() == pytest.approx([10.5 - deviation, 20.5 - deviation, 30.5 - deviation])
    assert high.tolist() == pytest.approx([10.5 + deviation, 20.5 + deviation, 30.5 + deviation])
    rationale_figures.answers([row for row in rows() if row["seed"] == 0 and row["strategy"] == "qcrd"])
    assert drawn[1][1].tolist() == drawn[1][2].tolist()  # of one seed there is none


def test_without_rows_nothing_is_drawn():
    assert rationale_figures.answers([]) == rationale_figures.answers([{"kind": "epoch", "loss": 1.0}]) == ""

"""Figures of multimodal classification."""

import re

from mmcl.reports.figures.views import maps, views
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row


def results(rows):
    return by_strategy(map(parse_row, rows), "run")


def rows():
    accuracies = [
        {"kind": "views", "strategy": "m3col", "seed": seed, "alone": {"audio": 0.5 + seed / 10, "image": 0.7},
         "missing": {"audio": 0.6, "image": 0.4}}
        for seed in (0, 1)
    ]  # fmt: skip
    points = [[0.0, 1.0], [2.0, 3.0], [1.0, 0.0], [4.0, 4.0]]
    return [*accuracies, {"kind": "map", "strategy": "m3col", "seed": 0, "classes": ["on & off", "b"], "points": points,
                     "labels": [0, 1, 0, 1]}]  # fmt: skip


def test_each_figure_draws_its_rows():
    drawn = views(results(rows()))
    assert drawn.startswith("<svg") and all(
        text in drawn for text in ("audio", "image", "m3col", "the others without it")
    )
    mapped = maps(results(rows()))
    assert "on &amp; off" in mapped and "m3col" in mapped
    fewer = rows()
    fewer[-1] = fewer[-1] | {"points": [[0.0, 1.0], [2.0, 3.0]], "labels": [0, 1]}
    points = [len(re.findall("<use ", each)) for each in (mapped, maps(results(fewer)))]
    assert points[0] - points[1] == 2


def test_bins_of_a_target_are_coloured_from_low_to_high():
    ordered = rows()
    ordered[-1]["ordered"] = True
    drawn = maps(results(ordered))
    assert "#440154" in drawn and "#fde725" in drawn  # both ends of viridis
    assert "#440154" not in maps(results(rows()))


def test_nothing_is_drawn_without_rows():
    other = [{"kind": "epoch", "strategy": "m3col", "seed": 0, "epoch": 1, "loss": 1.0}]
    for draw in (views, maps):
        assert draw([]) == draw(results(other)) == ""

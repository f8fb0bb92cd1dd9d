"""Figures of two-tower models."""

from mmcl.reports.figures.towers import confusions, similarities
from mmcl.reports.results import by_strategy
from mmcl.reports.row_types import parse_row


def results(rows):
    return by_strategy(map(parse_row, rows), "run")


def rows():
    counts = [[(i + j) % 3 for j in range(4)] for i in range(4)]
    return [
        {"kind": "zero_shot", "strategy": "cwcl", "seed": 0, "data": "digits", "classes": ["one", "two & three"],
         "confusion": [[3, 1], [0, 0]], "top1": 0.75},
        {"kind": "zero_shot", "strategy": "cwcl", "seed": 0, "data": "digits by text", "classes": [], "top1": 0.5},
        {"kind": "similarity", "strategy": "cwcl", "seed": 0, "edges": [0.0, 0.25, 0.5, 0.75, 1.0], "counts": counts,
         "centres": [0.125, 0.375], "means": [0.1, 0.2], "correlation": 0.4321},
    ]  # fmt: skip


def test_each_figure_draws_its_rows():
    found = results(rows())
    confusion = confusions(found)
    assert "two &amp; three" in confusion and ">75<" in confusion and "digits, cwcl" in confusion
    assert "by text" not in confusion
    assert "cwcl, correlation 0.43" in similarities(found)


def test_nothing_is_drawn_without_rows():
    incremental = [{"kind": "epoch", "strategy": "replay", "seed": 0, "experience": 0, "epoch": 1, "loss": 1.0}]
    for draw in (confusions, similarities):
        assert draw([]) == draw(results(incremental)) == ""


def test_large_confusions_are_not_drawn():
    row = rows()[0] | {"classes": [str(i) for i in range(60)], "confusion": [[1] * 60] * 60}
    assert confusions(results([row])) == ""

import re

from mmcl.reports.figures import views as view_figures


def rows():
    views = [
        {"kind": "views", "strategy": "m3col", "seed": seed, "alone": {"audio": 0.5 + seed / 10, "image": 0.7},
         "missing": {"audio": 0.6, "image": 0.4}}
        for seed in (0, 1)
    ]  # fmt: skip
    points = [[0.0, 1.0], [2.0, 3.0], [1.0, 0.0], [4.0, 4.0]]
    return [*views, {"kind": "map", "strategy": "m3col", "seed": 0, "classes": ["on & off", "b"], "points": points,
                     "labels": [0, 1, 0, 1]}]  # fmt: skip


def test_each_figure_draws_its_own_rows():
    drawn = view_figures.views(rows())
    assert drawn.startswith("<svg") and all(
        text in drawn for text in ("audio", "image", "m3col", "where it is missing")
    )
    mapped = view_figures.maps(rows())
    assert "on &amp; off" in mapped and "m3col" in mapped
    fewer = rows()
    fewer[-1] = fewer[-1] | {"points": [[0.0, 1.0], [2.0, 3.0]], "labels": [0, 1]}
    points = [len(re.findall("<use ", each)) for each in (mapped, view_figures.maps(fewer))]
    assert points[0] - points[1] == 2


def test_without_rows_nothing_is_drawn():
    other = [{"kind": "epoch", "strategy": "m3col", "seed": 0, "epoch": 1, "loss": 1.0}]
    for draw in (view_figures.views, view_figures.maps):
        assert draw([]) == draw(other) == ""

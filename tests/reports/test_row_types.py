"""Whatever a row of metrics holds, it is shown, or an error names the file, the line and the value."""

from __future__ import annotations

import copy
import json
import math

import pytest

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.reports.figures import classes as figures
from mmcl.reports.figures import rationales as rationale_figures
from mmcl.reports.figures import towers as tower_figures
from mmcl.reports.figures import unlearning as unlearning_figures
from mmcl.reports.figures import views as view_figures
from mmcl.reports.page import report_html, results_markdown, results_table
from mmcl.reports.results import collect, table_rows
from mmcl.reports.row_types import checked_rows
from mmcl.runs.run import Run
from mmcl.serving.page import show_course

UNIT, RETRAIN = {"strategy": "a", "seed": 0}, {"strategy": "retrain", "seed": 0}
MEASURES = {"accuracy": 0.5, "distance to Retrain": 0.1, "time / Retrain's": 0.5}
ROWS = {
    "stream": [{**UNIT, "experiences": [["x", "y"], ["z"]], "train_sizes": [1, 1], "test_sizes": [1, 1]}],
    "evaluation": [
        {**UNIT, "experience": 0, "accuracy": [0.5, None], "seen_accuracy": 0.5, "per_class": {"x": 0.5}},
        {**UNIT, "experience": 1, "accuracy": [0.5, 0.4], "seen_accuracy": 0.5, "per_class": {"x": 0.4}},
    ],
    "epoch": [{**UNIT, "epoch": 1, "loss": 0.5, "valid_accuracy": 0.5}, {**UNIT, "epoch": 2, "loss": 0.4}],
    "zero_shot": [{**UNIT, "data": "d", "classes": ["a", "b"], "confusion": [[1, 2], [3, 4]]}],
    "similarity": [
        {**UNIT, "counts": [[1, 2], [3, 4]], "edges": [0, 0.5, 1], "centres": [0.2], "means": [0.3], "correlation": 0.5}
    ],
    "views": [{**UNIT, "alone": {"v": 0.5, "w": 0.4}, "missing": {"v": 0.5, "w": 0.3}}],
    "map": [{**UNIT, "points": [[0, 1], [1, 2]], "labels": [0, 1], "classes": ["a", "b"]}],
    "result": [
        {**RETRAIN, "measures": MEASURES},
        {**UNIT, "measures": MEASURES, "average_accuracy": 0.5, "seconds": 3},
    ],
}
MISSING = object()
VALUES = {
    "missing": MISSING, "null": None, "string": "x", "list": [1], "no list": [], "object": {"a": 1}, "nan": math.nan,
    "huge": 1e300, "integer": 10**400, "negative": -1, "many": 10**9,
}  # fmt: skip
OF_STRATEGIES = (figures.accuracy_curves, figures.accuracy_matrices, figures.class_forgetting)
OF_ROWS = {
    "epoch": (tower_figures.losses, rationale_figures.answers), "zero_shot": (tower_figures.confusions,),
    "similarity": (tower_figures.similarities,), "views": (view_figures.views,), "map": (view_figures.maps,),
    "result": (unlearning_figures.distances, rationale_figures.answers), "stream": (), "evaluation": (),
}  # fmt: skip


class Config(StrictModel):
    pass


def places(value, place=()):
    """Every place within a value, of lists the first."""
    if place:
        yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, each in parts:
        yield from places(each, (*place, key))


def changed(rows, place, value):
    """Rows with another value at a place."""
    rows = copy.deepcopy(rows)
    *outer, last = place
    at = rows
    for key in outer:
        at = at[key]
    if value is MISSING:
        del at[last]
    else:
        at[last] = value
    return rows


def write(run, rows):
    (run.folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


@pytest.fixture
def run(tmp_path):
    with Run.create("slu_incremental", Config(), tmp_path / "run") as run:
        pass
    return run


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("kind", ROWS)
def test_every_value_is_shown_or_refused(run, kind, value):
    rows = [{"kind": kind, **row} for row in ROWS[kind]]
    refused = 0
    for place in places(rows):
        write(run, changed(rows, place, value))
        try:
            checked, strategies = checked_rows(run), collect([run])
        except RunError as error:
            told, refused = str(error), refused + 1
            assert "metrics.jsonl" in told and "line 1" in told and "\n" not in told
            assert len(told) < 300 + len(str(run.folder))
            continue
        table_rows(strategies)
        for draw in OF_STRATEGIES:
            draw(strategies)
        for draw in OF_ROWS[kind]:
            draw(checked)
    assert refused


@pytest.mark.parametrize("kind", ROWS)
def test_a_report_says_what_is_wrong_with_a_run(run, kind):
    rows = [{"kind": kind, **row} for row in ROWS[kind]]
    write(run, rows)
    assert all("<table" in show([run]) for show in (report_html, show_course)) and results_table([run]).row_count
    for value in (5, "x"):
        write(run, changed(rows, (0, "strategy" if value == 5 else list(rows[0])[-1]), value))
        for show in (report_html, results_table, lambda runs: results_markdown(runs[0], "a", "0")):
            with pytest.raises(RunError, match="metrics.jsonl line 1"):
                show([run])
        assert "metrics.jsonl line 1" in show_course([run])


@pytest.mark.parametrize(
    ("kind", "place", "value", "told"),
    [
        (
            "evaluation",
            (0, "accuracy", 0),
            "x",
            "line 1: 'accuracy.0' of the evaluation is 'x', expected a valid number",
        ),
        ("evaluation", (1, "experience"), -1, "line 2: 'experience' of the evaluation is -1, expected greater than"),
        ("evaluation", (0, "experience"), 10**9, "'experience' of the evaluation is 1000000000, expected less than"),
        ("evaluation", (0, "accuracy"), MISSING, "'accuracy' of the evaluation is missing"),
        ("evaluation", (0, "seed"), None, "'seed' of the evaluation is None"),
        ("epoch", (0, "loss"), 1e300, "'loss' of the epoch is too large"),
        ("epoch", (0, "loss"), math.inf, "'loss' of the epoch is too large"),
        (
            "zero_shot",
            (0, "confusion", 0),
            [1],
            "the row of the zero_shot has a confusion that is not classes by classes",
        ),
        ("stream", (0, "seed"), None, "the row of the stream has a strategy, but no seed"),
        ("map", (0, "labels"), [1], "the row of the map has labels and points of different lengths"),
    ],
)
def test_the_error_names_line_and_value(run, kind, place, value, told):
    write(run, changed([{"kind": kind, **row} for row in ROWS[kind]], place, value))
    with pytest.raises(RunError, match="metrics.jsonl line") as error:
        checked_rows(run)
    assert told in str(error.value)


def test_sound_rows_are_returned_as_they_are(run):
    rows = [{"kind": kind, **row} for kind, several in ROWS.items() for row in several]
    rows += [{"kind": "own", "anything": [None, {"x": 1}]}, {"kind": "result", **UNIT, "last_accuracy": math.nan}]
    write(run, rows)
    assert json.dumps(checked_rows(run)) == json.dumps(rows)
    assert [row["kind"] for row in checked_rows(run, "map")] == ["map"]

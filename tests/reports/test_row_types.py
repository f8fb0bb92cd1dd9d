"""Any row of metrics is either shown or refused with an error that names the file, line and value."""

from __future__ import annotations

import copy
import itertools
import json
import math

import pytest
from thinned import thinned

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.reports.figures import draw_sections
from mmcl.reports.page import report_html
from mmcl.reports.results import collect, table_rows
from mmcl.reports.row_types import MapRow, ResultRow, Row, parse_row, read_metrics, rows_of_type
from mmcl.reports.tables import results_markdown, results_tables
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


class Config(StrictModel):
    pass


def places(value, place=()):
    """Yield the path of every nested value; of lists, only that of the first item."""
    if place:
        yield place
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, each in parts:
        yield from places(each, (*place, key))


def changed(rows, place, value):
    """Return a copy of rows with another value at a path."""
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


@pytest.mark.parametrize(
    ("kind", "value"),
    thinned(itertools.product(ROWS, VALUES.values()), 3, [f"{kind}-{name}" for kind in ROWS for name in VALUES]),
)
def test_every_value_is_shown_or_refused(run, kind, value):
    rows = [{"kind": kind, **row} for row in ROWS[kind]]
    refused = 0
    for place in places(rows):
        write(run, changed(rows, place, value))
        try:
            strategies = collect([run])
        except RunError as error:
            message, refused = str(error), refused + 1
            assert "metrics.jsonl" in message and "line 1" in message and "\n" not in message
            assert len(message) < 300 + len(str(run.folder))
            continue
        table_rows(strategies)
        draw_sections(strategies)
    assert refused


@pytest.mark.parametrize("kind", ROWS)
def test_report_refuses_invalid_rows(run, kind):
    rows = [{"kind": kind, **row} for row in ROWS[kind]]
    write(run, rows)
    assert all("<table" in show([run]) for show in (report_html, show_course)) and results_tables([run])[0].row_count
    for value in (5, "x"):
        write(run, changed(rows, (0, "strategy" if value == 5 else list(rows[0])[-1]), value))
        for show in (report_html, results_tables, lambda runs: results_markdown(runs[0], "a", "0")):
            with pytest.raises(RunError, match="metrics.jsonl line 1"):
                show([run])
        assert "metrics.jsonl line 1" in show_course([run])


@pytest.mark.parametrize(
    ("kind", "place", "value", "message"),
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
def test_error_names_line_and_value(run, kind, place, value, message):
    write(run, changed([{"kind": kind, **row} for row in ROWS[kind]], place, value))
    with pytest.raises(RunError, match="metrics.jsonl line") as error:
        read_metrics(run)
    assert message in str(error.value)


def test_valid_rows_are_returned_with_their_types(run):
    rows = [{"kind": kind, **row} for kind, several in ROWS.items() for row in several]
    rows += [{"kind": "own", "anything": [None, {"x": 1}]}, {"kind": "result", **UNIT, "last_accuracy": math.nan}]
    write(run, rows)
    typed = read_metrics(run)
    assert [row.kind for row in typed] == [row["kind"] for row in rows]
    assert type(typed[-2]) is Row and math.isnan(typed[-1].last_accuracy)
    (found,) = rows_of_type(typed, MapRow)
    assert found.points == [[0.0, 1.0], [1.0, 2.0]] and found.classes == ["a", "b"]


def test_measure_has_one_home():
    """A measure is read from one place, whether the row has it at the top or in ``measures``."""
    row = parse_row({"kind": "result", **UNIT, "measures": {"F1": 0.5, "slu_f1": 0.1}, "slu_f1": 0.2, "seconds": None})
    assert isinstance(row, ResultRow) and row.values == {"F1": 0.5, "slu_f1": 0.2}

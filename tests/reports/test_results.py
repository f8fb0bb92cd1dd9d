"""Numbers of tables and plots, against numbers worked out by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.reports.page import report_html
from mmcl.reports.results import MeanStd, by_strategy, collect, mean_ranks, run_names, table_rows
from mmcl.reports.row_types import parse_row
from mmcl.runs.run import Run


class Config(StrictModel):
    pass


def make(folder: Path, rows: list[dict[str, Any]]) -> Run:
    with Run.create("slu", Config(), folder) as run:
        for row in rows:
            run.log(**row)
    return Run.read(folder)


def stream(seed: int, *experiences: list[str], strategy: str = "replay") -> dict[str, Any]:
    sizes = [len(names) for names in experiences]
    row = {"kind": "stream", "strategy": strategy, "seed": seed, "experiences": list(experiences)}
    return row | {"train_sizes": sizes, "test_sizes": sizes}


def evaluation(
    strategy: str, seed: int, experience: int, accuracy: list[float | None], seen: float, per_class: dict[str, float]
) -> dict[str, Any]:
    row = {"kind": "evaluation", "strategy": strategy, "seed": seed, "experience": experience}
    return row | {"accuracy": accuracy, "seen_accuracy": seen, "per_class": per_class}


def result(strategy: str, seed: int, last: float, seconds: float = 1.0, **more: float | None) -> dict[str, Any]:
    row = {"kind": "result", "strategy": strategy, "seed": seed, "average_accuracy": 0.5, "last_accuracy": last}
    return row | {"forward_transfer": 0.0, "seconds": seconds} | more


ROWS = [
    stream(0, ["a", "b"], ["c"], ["d"]),
    evaluation("replay", 0, 0, [0.9, 0.0, 0.0], 0.9, {"a": 0.8, "b": 1.0, "c": 0.0, "d": 0.0}),
    evaluation("replay", 0, 1, [0.5, 0.8, 0.0], 0.6, {"a": 0.9, "b": 0.1, "c": 0.8, "d": 0.0}),
    evaluation("replay", 0, 2, [0.3, 0.6, 1.0], 0.5, {"a": 0.4, "b": 0.2, "c": 0.6, "d": 1.0}),
    result("replay", 0, 0.5, seconds=10, forgetting=0.4),
    stream(1, ["c", "d"], ["a"], ["b"]),
    evaluation("replay", 1, 0, [0.7, 0.0, 0.0], 0.7, {"c": 0.7, "d": 0.7, "a": 0.0, "b": 0.0}),
    evaluation("replay", 1, 1, [0.5, 0.6, 0.0], 0.5, {"c": 0.5, "d": 0.5, "a": 0.6, "b": 0.0}),
    evaluation("replay", 1, 2, [0.5, 0.2, 0.9], 0.4, {"c": 0.5, "d": 0.5, "a": 0.2, "b": 0.9}),
    result("replay", 1, 0.4, seconds=20, forgetting=0.2),
]


def test_deviation_is_that_of_a_sample() -> None:
    average = MeanStd.of([0.4, 0.5, 0.9])
    assert average is not None
    assert (average.mean, average.std) == pytest.approx((0.6, 0.07**0.5))  # sqrt((0.04 + 0.01 + 0.09) / 2)
    assert average.text() == "60.0 ± 26.5"
    assert average.text(1) == "0.6 ± 0.3" and average.text(1, 3) == "0.600 ± 0.265"


def test_one_seed_has_no_deviation() -> None:
    assert MeanStd.of([0.25]) == MeanStd(0.25, None)
    assert MeanStd(0.25, None).text() == "25.0"
    assert MeanStd.of([None, 0.25]) == MeanStd(0.25, None)
    assert MeanStd.of([]) is MeanStd.of([None]) is None


def test_measures_are_means_over_seeds(tmp_path: Path) -> None:
    (replay,) = collect([make(tmp_path / "run", ROWS)])
    assert (replay.label, replay.strategy, replay.seeds) == ("replay", "replay", [0, 1])
    last, time = replay.measure("last_accuracy"), replay.measure("seconds")
    assert last is not None and time is not None
    assert (last.mean, last.std) == pytest.approx((0.45, 0.005**0.5))
    assert time.text(1.0) == "15.0 ± 7.1"
    assert replay.measure("backward_transfer") is None


def test_accuracy_is_keyed_by_the_number_of_classes_seen(tmp_path: Path) -> None:
    (replay,) = collect([make(tmp_path / "run", ROWS)])
    points = replay.accuracy_by_classes()
    assert list(points) == [2, 3, 4]
    assert [point.mean for point in points.values()] == pytest.approx([0.8, 0.55, 0.45])
    (unknown,) = collect([make(tmp_path / "other", [row for row in ROWS if row["kind"] != "stream"])])
    assert list(unknown.accuracy_by_classes()) == [1, 2, 3]  # numbers of experiences if no stream is logged


def test_matrix_is_the_mean_over_seeds(tmp_path: Path) -> None:
    (replay,) = collect([make(tmp_path / "run", ROWS)])
    expected = [[0.8, 0.0, 0.0], [0.5, 0.7, 0.0], [0.4, 0.4, 0.95]]
    for row, expected_row in zip(replay.matrix(), expected, strict=True):
        assert row == pytest.approx(expected_row)


def test_missing_cells_of_a_matrix_stay_missing(tmp_path: Path) -> None:
    rows = [evaluation("joint", 0, 2, [0.5, 0.6, None], 0.55, {})]
    (joint,) = collect([make(tmp_path / "run", rows)])
    assert joint.matrix() == [[None, None, None], [None, None, None], [0.5, 0.6, None]]


def test_forgetting_counts_from_the_experience_of_the_class(tmp_path: Path) -> None:
    (replay,) = collect([make(tmp_path / "run", ROWS)])
    # seed 0: a 0.9 - 0.4, b 1.0 - 0.2, c 0.8 - 0.6 (0 before it was learned), d is last
    # seed 1: a 0.6 - 0.2, c 0.7 - 0.5, d 0.7 - 0.5, b is last
    expected = {"a": (0.5 + 0.4) / 2, "b": 0.8, "c": (0.2 + 0.2) / 2, "d": 0.2}
    assert replay.forgetting_by_class() == pytest.approx(expected)


def test_improved_class_has_negative_forgetting(tmp_path: Path) -> None:
    rows = [
        stream(0, ["a"], ["b"]),
        evaluation("replay", 0, 0, [0.5, 0.0], 0.5, {"a": 0.5}),
        evaluation("replay", 0, 1, [0.7, 0.9], 0.8, {"a": 0.7, "b": 0.9}),
    ]
    (replay,) = collect([make(tmp_path / "run", rows)])
    assert replay.forgetting_by_class() == pytest.approx({"a": -0.2})


def test_table_omits_empty_columns(tmp_path: Path) -> None:
    rows = [*ROWS, evaluation("joint", 0, 2, [0.9, 0.9, 0.9], 0.9, {}), stream(0, ["a"]) | {"strategy": "lwf"}]
    headings, cells = table_rows(collect([make(tmp_path / "run", rows)]))
    # no backward transfer is logged, and forward transfer is 0 everywhere
    assert headings == ["strategy", "seeds", "average accuracy", "last accuracy", "forgetting", "time (s)"]
    assert cells == [
        ["replay", "2", "50.0 ± 0.0", "45.0 ± 7.1", "30.0 ± 14.1", "15.0 ± 7.1"],
        ["joint", "0 of 1", "-", "-", "-", "-"],
        ["lwf", "0 of 1", "-", "-", "-", "-"],
    ]
    assert table_rows(collect([make(tmp_path / "empty", [])])) == (["strategy", "seeds"], [])


def test_strategies_of_several_runs_are_prefixed_by_the_run(tmp_path: Path) -> None:
    first = make(tmp_path / "first", [result("replay", 0, 0.5), result("naive", 0, 0.1)])
    second = make(tmp_path / "second", [result("replay", 0, 0.7)])
    headings, cells = table_rows(collect([first.folder, str(second.folder)]))
    assert headings[0] == "run/strategy"
    assert [(row[0], row[3]) for row in cells] == [
        ("first/replay", "50.0"),
        ("first/naive", "10.0"),
        ("second/replay", "70.0"),
    ]


def test_run_names_are_as_short_as_possible() -> None:
    paths = [Path("/x/a/demo"), Path("/x/b/demo"), Path("/y/b/tiny")]
    assert run_names([Run(path) for path in paths[1:]]) == ["demo", "tiny"]
    assert run_names([Run(path) for path in paths]) == ["a/demo", "b/demo", "b/tiny"]
    assert run_names([Run(paths[0]), Run(paths[0])]) == ["demo", "demo"]


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=re.escape(str(tmp_path))):
        collect([tmp_path])


def test_values_that_are_not_finite_count_as_missing():
    assert MeanStd.of([float("nan"), 0.5, float("inf")]) == MeanStd(0.5, None)
    assert MeanStd.of([float("nan")]) is None


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "evaluation", "strategy": "a", "seed": 0},
        {"kind": "evaluation", "strategy": "a", "seed": 0, "experience": "0", "accuracy": [0.5]},
        {"kind": "evaluation", "strategy": "a", "seed": 0, "experience": 0, "accuracy": 0.5},
        {"kind": "evaluation", "strategy": "a", "seed": 0, "experience": 0, "accuracy": [{}]},
        {"kind": "evaluation", "strategy": "a", "seed": 0, "experience": 0, "accuracy": [0.5], "per_class": [1]},
        {"kind": "evaluation", "strategy": "a", "seed": 0, "experience": 0, "accuracy": [0.5], "seen_accuracy": "1"},
        {"kind": "evaluation", "strategy": ["a"], "seed": 0, "experience": 0, "accuracy": [0.5]},
        {"kind": "evaluation", "strategy": "a", "seed": [0], "experience": 0, "accuracy": [0.5]},
        {"kind": "result", "strategy": "a"},
        {"kind": "result", "strategy": "a", "seed": 0, "measures": [1]},
        {"kind": "result", "strategy": "a", "seed": 0, "measures": {"accuracy": "high"}},
        {"kind": "result", "strategy": "a", "seed": 0, "last_accuracy": [0.5]},
        {"kind": "result", "strategy": "a", "seed": 0, "seconds": "long"},
        {"kind": "stream", "strategy": "a", "seed": 0, "experiences": 3},
        {"kind": "stream", "strategy": "a", "seed": 0, "experiences": [[1]]},
        {"kind": "stream", "strategy": "a", "seed": 0, "experiences": [["a"]], "class_order": "0"},
        {"kind": "epoch", "strategy": "a", "seed": 0, "epoch": 0, "loss": "nan"},
        {"kind": "epoch", "strategy": "a", "seed": 0, "loss": 0.5},
        {"kind": "zero_shot", "strategy": "a", "seed": 0, "data": "x", "confusion": [[1, "b"]], "classes": 7},
        {"kind": "similarity", "strategy": "a", "seed": 0},
        {"kind": "views", "strategy": "a", "seed": 0, "alone": 7},
        {"kind": "map", "strategy": "a", "seed": 0, "points": "x", "labels": [0], "classes": ["a"]},
    ],
)
def test_values_of_wrong_type_are_refused_with_their_line(tmp_path: Path, row: dict[str, Any]) -> None:
    run = make(tmp_path / "run", [row])
    with pytest.raises(RunError, match=r"metrics.jsonl line 1: "):
        report_html([run])


def test_ranks_are_means_over_the_seeds_that_all_have_finished(tmp_path: Path) -> None:
    accuracies = {"naive": [0.2, 0.6, 0.1], "replay": [0.5, 0.6], "joint": [0.9, 0.7, 0.9]}
    rows = [result(name, seed, last) for name, values in accuracies.items() for seed, last in enumerate(values)]
    ranks = mean_ranks(collect([make(tmp_path / "run", rows)]))
    assert {name: rank.mean for name, rank in ranks.items()} == {"naive": 2.75, "replay": 2.25, "joint": 1.0}
    headings, cells = table_rows(collect([make(tmp_path / "other", rows)]))
    assert headings[2] == "rank" and [row[2] for row in cells] == ["2.8 ± 0.4", "2.2 ± 0.4", "1.0 ± 0.0"]


def test_two_strategies_are_not_ranked(tmp_path: Path) -> None:
    rows = [result(name, 0, 0.5) for name in ("naive", "replay")]
    assert mean_ranks(collect([make(tmp_path / "run", rows)])) == {}


def test_memory_and_parameters_have_their_units(tmp_path: Path) -> None:
    rows = [result("replay", 0, 0.5, memory_bytes=4096, trained_parameters=1500)]
    headings, cells = table_rows(collect([make(tmp_path / "run", rows)]))
    shown = dict(zip(headings, cells[0], strict=True))
    assert shown["memory kept (KiB)"] == "4.0" and shown["trained parameters (thousands)"] == "1.5"


def test_errors_of_a_regression_have_two_decimals_in_their_unit():
    row = {"kind": "result", "strategy": "l1", "seed": 0, "measures": {"MAE": 3.456, "R2": 0.5, "MAE, head": 12.0}}
    headings, ((*_, mae, r2, head),) = table_rows(by_strategy([parse_row(row)], "run"))
    assert headings[2:] == ["MAE", "R2", "MAE, head"] and (mae, r2, head) == ("3.46", "50.0", "12.00")

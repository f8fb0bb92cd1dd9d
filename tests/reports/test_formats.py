"""Results as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from mmcl.config.model import StrictModel
from mmcl.reports.formats import results_csv, results_json, results_latex, results_markdown_table
from mmcl.runs.run import Run


class Config(StrictModel):
    seeds: tuple[int, ...] = (0, 1)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    with Run.create("slu_incremental", Config(), tmp_path / "run", config_name="tiny") as run:
        for seed in (0, 1):
            run.log("result", strategy="replay+token_kd", seed=seed, average_accuracy=0.5 + 0.1 * seed, seconds=60.0)
        run.log("result", strategy="naive", seed=0, average_accuracy=0.25, seconds=30.0)
    return run


def test_csv_has_means_and_deviations_as_numbers(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv([run]))))
    assert [row["strategy"] for row in rows] == ["replay+token_kd", "naive"]
    assert float(rows[0]["average_accuracy"]) == pytest.approx(0.55)
    assert float(rows[0]["average_accuracy std"]) == pytest.approx(0.0707, abs=1e-4)
    assert (rows[0]["seeds"], rows[1]["average_accuracy std"], rows[1]["seconds"]) == ("2", "", "30.0")


def test_latex_is_escaped_and_has_one_line_per_strategy(run: Run) -> None:
    lines = results_latex([run]).splitlines()
    assert lines[0].startswith(r"\begin{tabular}{lr") and lines[-1] == r"\end{tabular}"
    assert any(line.startswith(r"replay+token\_kd & 2 & 55.0 $\pm$ 7.1 &") for line in lines)
    assert sum(line.endswith(r"\\") for line in lines) == 3


def test_markdown_has_one_row_per_strategy(run: Run) -> None:
    lines = results_markdown_table([run]).splitlines()
    assert len(lines) == 4 and "55.0 ± 7.1" in lines[2] and lines[3].startswith("| naive | 1 | 25.0 |")


def other(tmp_path: Path) -> Run:
    """A run with another seed setting that results depend on."""

    class Other(Config):
        experiences: int = 2

    with Run.create("slu_incremental", Other(), tmp_path / "other", config_name="tiny") as run:
        run.log("result", strategy="naive", seed=0, average_accuracy=0.75, seconds=30.0)
    return run


def test_groups_that_cannot_be_compared_have_a_column(run: Run, tmp_path: Path) -> None:
    runs = [run, other(tmp_path)]
    assert {row["group"] for row in csv.DictReader(io.StringIO(results_csv([run])))} == {""}
    groups = {row["run"]: row["group"] for row in csv.DictReader(io.StringIO(results_csv(runs)))}
    assert groups == {"run": "experiences=none", "other": "experiences=2"}
    assert results_latex(runs).splitlines()[0].startswith(r"\begin{tabular}{llr")
    assert "group & run/strategy & seeds" in results_latex(runs) and "experiences=2 & other/naive" in results_latex(
        runs
    )
    assert results_markdown_table(runs).splitlines()[-1].startswith("| experiences=2 | other/naive | 1 |")


def test_json_has_the_numbers_of_each_strategy(run: Run) -> None:
    replay, naive = json.loads(results_json([run]))
    assert (replay["group"], replay["run"], replay["strategy"], replay["seeds"]) == ("", "run", "replay+token_kd", 2)
    assert replay["measures"]["average_accuracy"]["mean"] == pytest.approx(0.55)
    assert naive["measures"]["average_accuracy"] == {"mean": 0.25, "std": None}


def test_a_single_seed_has_no_deviation_in_any_format(tmp_path: Path) -> None:
    for write in (results_csv, results_json, results_latex, results_markdown_table):
        text = write([other(tmp_path / write.__name__)])
        assert "± -" not in text and "nan" not in text.lower() and r"$\pm$" not in text

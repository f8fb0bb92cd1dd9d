"""Results as CSV, LaTeX and Markdown."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from mmcl.config.model import StrictModel
from mmcl.reports.formats import results_csv, results_latex, results_markdown_table
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

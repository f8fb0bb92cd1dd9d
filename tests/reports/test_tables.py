"""Tables of results in the terminal and in Markdown."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from mmcl.config.model import StrictModel
from mmcl.reports.tables import results_markdown, results_tables
from mmcl.runs.run import Run


class Config(StrictModel):
    seeds: tuple[int, ...] = (0, 1)


def make(folder: Path, config: Config, **last: list[float]) -> Run:
    with Run.create("slu_incremental", config, folder, config_name="tiny") as run:
        for seed in config.seeds:
            for strategy, values in last.items():
                measures = {"last_accuracy": values[seed], "forgetting": 0.96 - values[seed], "seconds": 61.5}
                run.log("result", strategy=strategy, seed=seed, average_accuracy=0.5, **measures)
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make(tmp_path / "run", Config(), naive=[0.10, 0.14], coconut=[0.70, 0.64])


def test_markdown_table_has_a_column_for_the_model(run: Run, tmp_path: Path) -> None:
    assert results_markdown(run, "coconut", "1").splitlines() == [
        "|  | naive | coconut | **this model** |",
        "|---|---|---|---|",
        "| seeds | 2 | 2 | seed 1 |",
        "| average accuracy | 50.0 ± 0.0 | 50.0 ± 0.0 | 50.0 |",
        "| last accuracy | 12.0 ± 2.8 | 67.0 ± 4.2 | 64.0 |",
        "| forgetting | 84.0 ± 2.8 | 29.0 ± 4.2 | 32.0 |",
        "| time (s) | 61.5 ± 0.0 | 61.5 ± 0.0 | 61.5 |",
    ]
    assert "this model" not in results_markdown(run, "coconut", "7")  # a seed without results
    alone = make(tmp_path / "alone", Config(seeds=(0,)), naive=[0.10])
    assert results_markdown(alone, "naive", "0").splitlines()[0] == "|  | naive |"  # the only seed
    with Run.create("slu_incremental", Config(), tmp_path / "nothing") as nothing:
        assert results_markdown(nothing, "naive", "0") == ""


def test_terminal_table_fits_eighty_columns(run: Run) -> None:
    console = Console(width=80, file=StringIO())
    with console.capture() as capture:
        console.print(*results_tables([run], 80))
    text = capture.get()
    assert "coconut      2 50.0 ± 0.0 67.0 ± 4.2 29.0 ± 4.2 61.5 ± 0.0" in text
    assert "slu_incremental / tiny" in text
    assert "mean ± standard deviation over seeds" in text
    assert "…" not in text


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_narrow_terminals_get_several_tables_and_no_number_is_cut(run: Run, width: int) -> None:
    console = Console(width=width, file=StringIO())
    tables = results_tables([run], width)
    with console.capture() as capture:
        console.print(*tables)
    text = capture.get()
    assert len(tables) == (1 if width >= 80 else 2) and "…" not in text
    assert all(number in text for number in ("50.0 ± 0.0", "67.0 ± 4.2", "29.0 ± 4.2", "61.5 ± 0.0"))
    assert text.count("coconut") == len(tables)


class Other(Config):
    experiences: int = 2


def test_groups_that_cannot_be_compared_have_their_own_tables(run: Run, tmp_path: Path) -> None:
    console = Console(width=80, file=StringIO())
    other = make(tmp_path / "other", Other(), naive=[0.10, 0.14])
    with console.capture() as capture:
        console.print(*results_tables([run, other], 80))
    text = capture.get()
    first, second = text.split("slu_incremental / tiny: experiences=2")
    assert "slu_incremental / tiny: experiences=none" in first
    assert "coconut" in first and "coconut" not in second and second.count("standard deviation") == 1


LONG = "replay+relational_kd+audio_kd+token_kd+sequence_kd"


@pytest.mark.parametrize("width", [60, 80])
def test_neither_labels_nor_numbers_are_cut_in_a_narrow_terminal(width: int, tmp_path: Path) -> None:
    runs = []
    for name in ("barista_seq2seq-20261128-060227", "barista-demo-20261128-060227"):
        with Run.create("slu_incremental", Config(), tmp_path / name) as run:
            for seed, strategy in ((0, "naive"), (1, "naive"), (0, LONG), (1, LONG)):
                measures = {"read-out speech commands by class, from text, ensemble": 0.2, "slot F1": 0.3 + seed}
                values = {"average_accuracy": 0.5 + seed / 3, "last_accuracy": 0.1, "seconds": 12345.0 + seed}
                run.log("result", strategy=strategy, seed=seed, measures=measures, **values)
        runs.append(run)
    console = Console(width=width, file=StringIO())
    with console.capture() as capture:
        console.print(*results_tables(runs, width))
    text = capture.get()
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert text.count("66.7 ± 23.6") == 4 and text.count("12345.5 ± 0.7") == 4
    whole = "".join(line.split(" ")[1] for line in text.splitlines() if line.startswith(" "))
    assert all(f"{run.folder.name}/{strategy}" in whole for run in runs for strategy in ("naive", LONG))

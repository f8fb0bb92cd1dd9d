"""The report shows the numbers of finished and unfinished runs, and loads nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mmcl.config.model import StrictModel
from mmcl.errors import RunError
from mmcl.reports.page import report_html, write_report
from mmcl.reports.tables import results_tables
from mmcl.runs.run import Run

CLASSES = [["lights on", "lights off"], ["<b>louder</b> & up", "quieter"]]


class Config(StrictModel):
    strategy: tuple[str, ...] = ("naive", "coconut")
    seeds: tuple[int, ...] = (0, 1)
    memory_size: int = 50
    note: str = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The text, tables and links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.drawn: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "path", "use"):
            self._open.append(tag)
        self.addresses += [value or "" for name, value in attributes if name in ("href", "src", "xlink:href", "action")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        if "svg" in self._open:
            self.drawn.append(data.strip())
        self.text.append(data)


def log_results(run: Run, strategy: str, seed: int, last: float) -> None:
    names = [name for experience in CLASSES for name in experience]
    rows = [([0.96, 0.0], 0.96, dict.fromkeys(names[:2], 0.96)), ([last, 0.88], last, dict.fromkeys(names, last))]
    for experience, (accuracy, seen, per_class) in enumerate(rows):
        values: dict[str, Any] = {"accuracy": accuracy, "seen_accuracy": seen, "per_class": per_class}
        run.log("evaluation", strategy=strategy, seed=seed, experience=experience, **values)
    measures = {"average_accuracy": 0.5, "last_accuracy": last, "forgetting": 0.96 - last, "seconds": 61.5}
    run.log("result", strategy=strategy, seed=seed, **measures)


def make(folder: Path, config: Config, **last: list[float]) -> Run:
    with Run.create("slu_incremental", config, folder, config_name="tiny") as run:
        for seed in config.seeds:
            for strategy, values in last.items():
                sizes = {"train_sizes": [40, 41], "test_sizes": [10, 11]}
                run.log("stream", strategy=strategy, seed=seed, experiences=CLASSES, **sizes)
                log_results(run, strategy, seed, values[seed])
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make(tmp_path / "run", Config(), naive=[0.10, 0.14], coconut=[0.70, 0.64])


def test_table_has_mean_and_deviation(run: Run) -> None:
    table = Page(report_html([run])).tables[0]
    assert table == [
        ["strategy", "seeds", "average accuracy", "last accuracy", "forgetting", "time (s)"],
        ["naive", "2", "50.0 ± 0.0", "12.0 ± 2.8", "84.0 ± 2.8", "61.5 ± 0.0"],
        ["coconut", "2", "50.0 ± 0.0", "67.0 ± 4.2", "29.0 ± 4.2", "61.5 ± 0.0"],
    ]


def test_plots_have_the_numbers_as_text(run: Run) -> None:
    page = Page(report_html([run]))
    assert page.tags.count("svg") == 3
    for text in ("naive", "coconut", "classes seen", "lights on", "96", "12", "67", "88", "forgetting (%)"):
        assert text in page.drawn, text


def test_sections_are_in_order(run: Run) -> None:
    text = "".join(Page(report_html([run])).text)
    headings = [
        "Results",
        "Accuracy over experiences",
        "Accuracy matrices",
        "Forgetting per class",
        "Streams",
        "Config",
    ]
    places = [text.index(heading) for heading in headings]
    assert places == sorted(places)
    assert "slu_incremental / tiny" in text
    assert "finished" in text
    assert "memory_size: 50" in text
    for row in (["command", run.environment["command"]], ["seeds", "[0, 1]"], ["resumed", "never"]):
        assert row in Page(report_html([run])).tables[-1]


def test_streams_list_the_classes_in_order(run: Run) -> None:
    tables = Page(report_html([run])).tables
    assert len(tables) == 1 + len(Config().seeds) + 1  # results, one stream per seed, environment
    assert tables[1] == [
        ["experience", "classes", "train samples", "test samples"],
        ["1", "lights on, lights off", "40", "10"],
        ["2", "<b>louder</b> & up, quieter", "41", "11"],
    ]


def test_page_loads_nothing_and_is_escaped(run: Run) -> None:
    html = report_html([run])
    page = Page(html)
    assert "script" not in page.tags and "link" not in page.tags and "img" not in page.tags and "b" not in page.tags
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?!#)", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_same_run_gives_the_same_page(run: Run) -> None:
    assert report_html([run]) == report_html([run.folder])


def test_different_settings_of_compared_runs_are_listed(tmp_path: Path, run: Run) -> None:
    other = make(tmp_path / "other", Config(memory_size=20, seeds=(0,)), coconut=[0.60])
    page = Page(report_html([run, other]))
    assert [row[0] for row in page.tables[0]] == ["run/strategy", "run/naive", "run/coconut", "other/coconut"]
    assert page.tables[0][3][:4] == ["other/coconut", "1", "50.0", "60.0"]
    assert [["setting", "run", "other"], ["seeds", "[0, 1]", "[0]"], ["memory_size", "50", "20"]] in page.tables
    assert "2 runs of slu_incremental" in page.text
    again = make(tmp_path / "again", Config(), coconut=[0.60, 0.61])
    assert "All settings are equal." in Page(report_html([run, again])).text


def test_duplicate_runs_count_once(run: Run) -> None:
    assert report_html([run, run.folder / ".." / "run"]) == report_html([run])


def test_run_without_rows_has_a_report(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Run.create("slu", Config(), tmp_path / "run") as run:
        raise RuntimeError("at <once>")
    page = Page(report_html([tmp_path / "run"]))
    assert "failed: RuntimeError: at <once>" in page.text
    assert page.text.count("Nothing is logged yet.") == 1
    assert any("memory_size: 50" in text for text in page.text)
    assert results_tables([run])[0].row_count == 0


def test_unfinished_run_shows_its_rows(tmp_path: Path) -> None:
    with Run.create("slu", Config(), tmp_path / "run") as run:
        run.log("stream", seed=0, experiences=CLASSES, train_sizes=[1, 1], test_sizes=[1, 1])
        log_results(run, "naive", 0, 0.1)
        row = {"experience": 0, "accuracy": [0.33, None], "seen_accuracy": 0.33, "per_class": {"lights on": 0.33}}
        run.log("evaluation", strategy="coconut", seed=0, **row)
        page = Page(report_html([run]))
    assert page.tables[0][1][:2] == ["naive", "1"]
    assert page.tables[0][2] == ["coconut", "0 of 1", "-", "-", "-", "-"]
    assert "33" in page.drawn


@pytest.mark.parametrize("experiences", [1, 13])
def test_any_number_of_experiences_is_drawn(tmp_path: Path, experiences: int) -> None:
    with Run.create("slu", Config(), tmp_path / "run") as run:
        for strategy in ("a", "b", "c", "d", "e"):
            for experience in range(experiences):
                accuracy = [0.5] * (experience + 1) + [0.25] * (experiences - experience - 1)
                values = {"accuracy": accuracy, "seen_accuracy": 0.5, "per_class": {"x": 0.5}}
                run.log("evaluation", strategy=strategy, seed=0, experience=experience, **values)
    assert Page(report_html([run])).tags.count("svg") == (3 if experiences > 1 else 2)


def test_report_is_written_atomically_into_a_new_folder(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "reports" / "first.html"
    assert write_report([run], path) == path
    assert path.read_text(encoding="utf-8") == report_html([run])
    assert [other.name for other in path.parent.iterdir()] == ["first.html"]
    with pytest.raises(RunError, match=r"run \(Is a directory\)"):
        write_report([run], run.folder)
    with pytest.raises(RunError, match=re.escape(str(tmp_path))):
        write_report([tmp_path], path)


def test_groups_that_cannot_be_compared_have_their_own_sections(run: Run, tmp_path: Path) -> None:
    class Other(StrictModel):
        experiences: int = 2

    with Run.create(run.task, Other(), tmp_path / "elsewhere") as other:
        other.log("result", strategy="naive", seed=0, average_accuracy=0.75)
    html = report_html([run, other])
    assert "<h2>Results: " in html and "experiences=2</h2>" in html
    assert len([table for table in Page(html).tables if table[0][0] == "strategy"]) >= 2


def test_numbers_are_marked_so_that_they_never_break(run: Run) -> None:
    html = report_html([run])
    assert re.search(r'<td class="number">\d+\.\d( ± \d+\.\d)?</td>', html)
    assert re.search(r"td\.number[^{]*\{[^}]*white-space: nowrap", html) and ".wide { overflow-x: auto; }" in html

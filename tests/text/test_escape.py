"""Hostile names are escaped wherever strings of runs or data are shown."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from mmcl.config.model import StrictModel
from mmcl.errors import AudioError, ConfigError, MMCLError, RunError
from mmcl.files import plain_yaml
from mmcl.files.plain_json import json_text
from mmcl.predict import Prediction, predictions_table
from mmcl.progress import progress_display
from mmcl.publishing.card import model_card
from mmcl.reports.figures import draw_sections
from mmcl.reports.page import report_html
from mmcl.reports.results import by_strategy, collect
from mmcl.reports.row_types import parse_row
from mmcl.reports.tables import markdown_table, results_markdown, results_tables
from mmcl.runs.run import Run
from mmcl.runs.tensorboard import TensorBoardLog
from mmcl.serving.page import show_course
from mmcl.text import escape

ROOT = Path(__file__).parents[2]
NAMES = {
    "script": "<script>alert(1)</script>",
    "attribute": '" onload="alert(1)',
    "apostrophe": "' onload='alert(1)",
    "entity": "&lt;script&gt;",
    "dollar": "$x_",
    "formula": r"$\frac{$",
    "line": "_name_",
    "markup": "[bold red]x[/]",
    "closing": "[/]",
    "link": "[x](javascript:alert(1))",
    "table": "a | b \\| c",
    "fence": "```\n# heading\n````",
    "yaml": "---\nlicense: mit\n...",
    "colour": "\x1b[31mred\x1b]0;title\x07",
    "c1": "\x9b31m",
    "direction": "\u202egpj.exe",
    "surrogate": "caf\udce9",
    "lines": "one\ntwo\r\u2028three",
    "nul": "a\x00b",
    "long": "x" * 10_000,
    "emoji": "👩‍👩‍👧 🙂",
    "hindi": "कल सुबह",
    "chinese": "打开灯" * 30,
    "empty": "",
    "format": "{task.description} %s",
}
hostile = pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
# Pages with figures take a second each: every fifth name by default, the others with slow tests.
hostile_to_pages = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if row % 5 else []) for row, name in enumerate(NAMES.values())],
    ids=NAMES,
)
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028\u2029\ud800-\udfff]")


class Config(StrictModel):
    seeds: tuple[int, ...] = (0, 1)
    note: str = ""


class Tags(HTMLParser):
    """Return the names of a page's elements and attributes."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.words = set(), set(), []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.words.append(data)


def check_html(html, name):
    page = Tags(html)
    assert "script" not in page.tags and not {each for each in page.attributes if each.startswith("on")}
    assert not COMMANDS.search(html)
    html.encode()
    shown = escape.printable(name, lines=True)
    assert shown in "".join(page.words) or len(name) > 60 or "\n" in name


def incremental(folder, name, **config):
    """A run with one name in all text fields."""
    with Run.create("slu_incremental", Config(**config), folder) as run:
        for seed in (0, 1):
            for strategy in (name, f"{name}2"):
                unit = {"strategy": strategy, "seed": seed}
                run.log("stream", **unit, experiences=[[name], ["b"]], train_sizes=[1, 1], test_sizes=[1, 1])
                for experience, accuracy in enumerate(([0.9, None], [0.2, 0.8])):
                    values = {"seen_accuracy": 0.5, "per_class": {name: accuracy[0], "b": 0.5}}
                    run.log("evaluation", **unit, experience=experience, accuracy=accuracy, **values)
                run.log("result", **unit, last_accuracy=0.5, measures={name: 0.5})
    return run


def rows_of_all_kinds(name):
    unit, measures = {"strategy": name, "seed": 0}, {name: 0.5, "accuracy": 0.5, "time / Retrain's": 0.5}
    measures["distance to Retrain"] = 0.1
    return [
        {"kind": "epoch", **unit, "epoch": 1, "loss": 0.5, "valid_accuracy": 0.5},
        {"kind": "zero_shot", **unit, "data": name, "classes": [name, "b"], "confusion": [[1, 2], [3, 4]]},
        {"kind": "similarity", **unit, "counts": [[1]], "edges": [0, 1], "centres": [0.5], "means": [0.4],
         "correlation": 0.5},
        {"kind": "views", **unit, "alone": {name: 0.5}, "missing": {name: 0.4}},
        {"kind": "map", **unit, "points": [[0, 1]], "labels": [0], "classes": [name]},
        {"kind": "result", "strategy": "retrain", "seed": 0, "measures": measures},
        {"kind": "result", **unit, "measures": measures},
    ]  # fmt: skip


@hostile_to_pages
def test_figures(tmp_path, name):
    others = by_strategy(map(parse_row, rows_of_all_kinds(name)), "run")
    drawn = [*draw_sections(others), *draw_sections(collect([incremental(tmp_path / "run", name)]))]
    figures = [each.content for each in drawn if each.heading != "Streams"]
    assert len(figures) == 7 + 3
    for svg in figures:
        assert svg.startswith("<svg")
        check_html(svg, "b")


@hostile_to_pages
def test_report_and_page(tmp_path, name):
    run = incremental(tmp_path / "run", name, note="" if "\udce9" in name else name)
    (run.folder / "status.json").write_text(json_text({"status": f'{name}" onclick="x: {name}'}))
    for html in (report_html([run]), show_course([run]), report_html([run, incremental(tmp_path / "other", "x")])):
        check_html(html, name)
    assert show_course([run], [escape.printable(name)]).count(escape.html_text(name)) > 0


@hostile
def test_tables_in_the_terminal(tmp_path, name):
    run = incremental(tmp_path / "run", name)
    for table in (*results_tables([run], 100), predictions_table([Prediction(name, 0.5, 1.0)])):
        out = io.StringIO()
        Console(file=out, width=100).print(table)
        assert not COMMANDS.search(out.getvalue())
        out.getvalue().encode()
        shown = escape.printable(name)
        assert len(shown) > 20 or shown in out.getvalue()


@hostile
def test_progress_bars(monkeypatch, name):
    out = io.StringIO()
    with progress_display() as progress:
        progress.live.console.file = out
        progress.add_task(name, total=1)
    assert not re.sub(r"\x1b\[[\d;?]*[a-zA-Z]|\r", "", out.getvalue()).strip("\n\x1b").count("\x1b")


@hostile
def test_markdown(tmp_path, name):
    table = results_markdown(incremental(tmp_path / "run", name), "x", "0")
    check_table(table.splitlines())
    check_table(markdown_table(["a"], [[escape.markdown_code(name)], [escape.markdown_text(name)]]).splitlines())
    block = escape.markdown_block(name, "yaml").splitlines()
    assert block[0] == f"{block[-1]}yaml" and not [line for line in block[1:-1] if line.startswith(block[-1])]


def check_table(lines):
    """Check that all rows have equally many cells, without HTML."""
    cells = {len(re.findall(r"(?:^|[^\\])(?:\\\\)*(?=\|)", line)) for line in lines}
    assert len(cells) == 1 and not any(re.search("<(?!/?code)[a-z/]", re.sub("`+[^`]*`+", "", line)) for line in lines)


@hostile
def test_model_cards(tmp_path, name):
    run = incremental(tmp_path / "run", name)
    (tmp_path / "model").mkdir()
    encoder = {"modality": "audio", "name": "cnn", "dim": 8, "note": name}
    content = {"model_type": "mmcl_slu_classifier", "classes": [name, "b"], "encoder": encoder}
    (tmp_path / "model" / "config.json").write_text(json.dumps(content))
    card = model_card(run, f"{name}-seed0", tmp_path / "model", name, name)
    assert not COMMANDS.search(card)
    card.encode()
    _, head, text = (
        card.split("---\n", 2) if name != NAMES["yaml"] else (0, *re.split("\n---\n\n", card[4:], maxsplit=1))
    )
    assert yaml.safe_load(head)["license"] == escape.printable(name)
    assert "<script" not in re.sub(r"`[^`]*`|```.*?```", "", text, flags=re.DOTALL)
    assert "\n# heading" not in re.sub(r"(`{3,})\w*\n.*?\n\1(?!`)", "", text, flags=re.DOTALL)
    use = re.search(r"(`{3,})python\n(.*?)\n\1", text, re.DOTALL)[2]
    compile(use, "card", "exec")


@hostile
def test_tensorboard(tmp_path, name):
    pytest.importorskip("tensorboard", reason="needs the extra 'tensorboard'")
    log = TensorBoardLog(tmp_path / "logs", [])
    log.write({"kind": f"../{name}", "strategy": f"../../{name}", "seed": 0, f"{name}x": 0.5, "measures": {name: 1}})
    log.close()
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.is_dir() and list(tmp_path.iterdir()) == [tmp_path / "logs"]


@hostile
def test_errors_and_log_records_on_the_command_line(mmcl_, monkeypatch, name):
    import logging

    def fail(*_, **__):
        logging.getLogger("mmcl.data").warning("read %s", name)
        raise RunError(f"there is {name}")

    monkeypatch.setattr("mmcl.runs.run.Run.read", fail)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    done = mmcl_("compare", "x")
    shown = escape.printable(name)
    assert done.code == 1 and done.err == f"read {shown}\nerror: there is {shown}\n" and done.out == ""


@hostile
def test_hostile_tasks_and_configs_are_listed(mmcl_, monkeypatch, tmp_path, name):
    text = re.sub(r"[\x00\udce9\r\n\u2028]", " ", name)
    for folder in ("tasks", "configs/odd"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "tasks" / "odd.py").write_text(f"{text!r}\n")
    (tmp_path / "tasks" / "nul.py").write_bytes(b"'\x00'\xff")
    (tmp_path / "configs" / "odd" / "demo.yaml").write_text(f"# {text}\nnote: x\n")
    monkeypatch.setenv("MMCL_PATH", str(tmp_path))
    done = mmcl_("ls")
    assert done.code == 0 and not COMMANDS.search(done.out) and "odd/demo" in done.out
    assert escape.printable(text.strip())[:9] in done.out and "(not valid Python" in done.out


@hostile
def test_each_config_fault_is_one_line(mmcl_, tmp_path, name):
    (tmp_path / "c.yaml").write_text(plain_yaml.dump({f"k{name[:90]}": name, "epochs": name}))
    done = mmcl_("validate", "slu_incremental", "--config", tmp_path / "c.yaml")
    assert done.code == 1 and len(done.err.splitlines()) in (1, 2) and not COMMANDS.search(done.err)


@hostile
def test_names_of_predicted_recordings(name, tmp_path):
    from mmcl.serving.page import show_answer

    class Deaf:
        def answer(self, file, intents):
            raise MMCLError(f"{file} is not audio")

    shown = show_answer(Deaf(), f"/x/{name.replace('/', '')}", "on")
    check_html(shown.message, name.replace("/", ""))


def test_a_terminal_without_unicode_gets_escapes():
    code = "import sys; sys.argv = ['mmcl', 'ls', 'पानी🙂']\nfrom mmcl.cli.main import main\nmain()"
    environment = {"PYTHONIOENCODING": "latin-1", "PATH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 2 and "\\u092a" in done.stderr and "Traceback" not in done.stderr


def test_multiline_messages_become_one_line_except_config_faults(mmcl_, monkeypatch):
    for error, code, told in ((RunError("a\nb"), 1, "error: a\\nb\n"), (ConfigError("a\nb"), 2, "a\nb\n")):
        monkeypatch.setattr("mmcl.runs.run.Run.read", lambda *_, error=error: (_ for _ in ()).throw(error))
        done = mmcl_("compare", "x")
        assert (done.code, done.err) == (code, told)


def test_display_uses_these_functions_only():
    """Code that prints, escapes or lays out text is found by the functions that it calls."""
    allowed = {
        r"typer\.s?echo\(|(?<!\.)\bprint\(": {"terminal.py", "signals.py"},
        r"from html import|import html\b|markup import": {"escape.py"},
        r"\bText\(": {"escape.py", "intents.py", "output.py"},  # bars
        r"TextColumn\(": {"progress.py", "cache.py"},  # constants only
    }
    for pattern, files in allowed.items():
        found = {
            path.name
            for path in [*(ROOT / "mmcl").rglob("*.py"), *(ROOT / "tasks").glob("*.py")]
            for line in path.read_text(encoding="utf-8").splitlines()
            if re.search(pattern, line)
            and not re.match(r"\s*(>>>|\.\.\.|#|['\"f]|(use|heard|code) |print\((trainer|answer))", line)
        }
        assert found <= files, pattern


def test_labels_of_figures_are_escaped():
    """Titles, labels and names of ticks in the figures are constants, or pass ``figure_text``."""
    paths = [*(ROOT / "mmcl/reports/figures").glob("*.py"), ROOT / "mmcl/reports/drawing.py"]
    assert len(paths) > 5
    for path in paths:
        for call in re.findall(
            r"set_title\(([^\n]*)|[,(] label=([^\n]*)|set_[xy]ticks\(\w[^,\n]*\), ([^\n]*)", path.read_text()
        ):
            given = "".join(call)
            assert "figure_text(" in given or re.match(r"names|label,|\[str\(|label$", given), (path.name, given)


@pytest.mark.parametrize("text", ["", "order.wav", "café.wav", "音声.wav", "🎤.wav", "a\\udce9.wav"])
def test_encodable_text_is_unchanged(text):
    assert escape.encodable(text) is text or escape.encodable(text) == text


@pytest.mark.parametrize(("text", "shown"), [("caf\udce9", "caf\\udce9"), ("é\udcff\udc80", "é\\udcff\\udc80")])
def test_bytes_that_are_not_utf_8_are_escaped(text, shown):
    assert escape.encodable(text) == shown
    escape.encodable(text).encode()


@pytest.mark.parametrize("kind", [AudioError, ConfigError])
def test_errors_can_be_printed(kind):
    assert str(kind("caf\udce9.wav is empty")) == "caf\\udce9.wav is empty"
    assert str(kind()) == ""

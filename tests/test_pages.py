"""Pages in Markdown: the size of the README, plain sentences, valid links, and snippets and commands that run.

The paragraph before a snippet states what it needs, and the test obeys: ``MMCL_DATA`` and ``MMCL_WEIGHTS`` skip it
without the folder, ``synth`` without the extra and ``GPU`` without one. CI leaves those out that take a ``minute``.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest
import typer
import yaml

from mmcl import __version__
from mmcl.cli.main import app
from mmcl.config.model import load_config
from mmcl.config.tasks import find_config, load_task, tasks
from mmcl.data import catalog
from mmcl.data.own import OWN

ROOT = Path(__file__).parents[1]
NAMES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
FOLDERS = ["configs/*", "notebooks", "tasks", "tests/benchmarks", "tests/chaos"]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*(ROOT / name for name in NAMES), *sorted(p for each in FOLDERS for p in ROOT.glob(f"{each}/*.md"))]
}
OWN_PAGE = "configs/OWN_DATA.md"  #: its examples have a test of their own
PROSE = {**PAGES, OWN_PAGE: (ROOT / OWN_PAGE).read_text(encoding="utf-8")}
BLOCK = re.compile(r"(?P<before>(?:[^\n]+\n)*)\n*```(?P<language>\w*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef)
PLACEHOLDER = re.compile(r"\b(?:[A-Z]{2,}|DIR|FILE)\b|\[--|\[[A-Z]|\.\.\.|key=value")


def _snippets():
    for page, text in PAGES.items():
        for number, block in enumerate(each for each in BLOCK.finditer(text) if each["language"] == "python"):
            marks = [] if "minute" in block["before"] else [pytest.mark.ci]
            yield pytest.param(block["before"], block["code"], id=f"{page}-{number}", marks=marks)


def _help_texts(command=None, name="mmcl"):
    """Help of every command by its name, with the arguments' help."""
    command = command or typer.main.get_command(app)
    yield (
        f"{name} --help",
        "\n\n".join([command.help or "", *(getattr(each, "help", None) or "" for each in command.params)]),
    )
    for child, each in getattr(command, "commands", {}).items():
        yield from _help_texts(each, f"{name} {child}")


def _docstrings():
    """Docstrings of modules, classes and functions by file."""
    for path in sorted((ROOT / "mmcl").rglob("*.py")):
        nodes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, DOCUMENTED)]
        yield str(path.relative_to(ROOT)), "\n\n".join(filter(None, map(ast.get_docstring, nodes)))


def _comments():
    """Commands in the comments of configs, as lines between backticks."""
    for path in sorted(ROOT.glob("configs/*/*.yaml")):
        lines = re.findall(r"^#\s+((?:\w+=\S+ )*mmcl .+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        yield str(path.relative_to(ROOT)), "\n".join(f"`{line}`" for line in lines)


def _commands():
    """Commands of mmcl in shell blocks, and those between backticks that have no placeholder.

    They are in the pages, in the help of the commands, in docstrings, and in comments of configs.
    """
    for page, text in [*PAGES.items(), *_help_texts(), *_docstrings(), *_comments()]:
        blocks = [block["code"] for block in BLOCK.finditer(text) if block["language"] != "python"]
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        spans = re.findall(r"`([^`\n]*)`", BLOCK.sub("", text))
        for line in dict.fromkeys([*lines, *(each for each in spans if not PLACEHOLDER.search(each))]):
            words = shlex.split(line, comments=True)
            if "mmcl" in words and words[-1] != "mmcl":
                yield pytest.param(words[words.index("mmcl") + 1 :], id=f"{page}: {line}")


def _sentences(text):
    """Sentences of paragraphs, list items and table cells, without code blocks and the targets of links."""
    text = re.sub(r"\]\([^)]*\)", "]", BLOCK.sub(lambda block: f"{block['before']}\n", text))
    for kind, lines in groupby(text.splitlines(), key=lambda line: line.startswith("|")):
        joined = "\n".join(lines)
        parts = re.split(r"[|\n]" if kind else r"\n\s*\n|\n\s*(?:- |\d+\. |#)", joined)
        yield from (sentence for part in parts for sentence in re.split(r"(?<=[.!?:])\s+", part))


def test_the_readme_is_one_page():
    text = PAGES["README.md"]
    assert len(text.encode()) <= 12_000 and len(text.splitlines()) <= 200
    for command in (  # the lines that .ci/run reads
        "\npip install uv && uv run --extra synth mmcl run slu_incremental\n",
        "\npip install uv && uv run --extra dev pytest\n",
    ):
        assert command in text


def test_ci_runs_the_example_of_the_readme():
    (example,) = [each for each in _snippets() if each.id.startswith("README.md")]
    assert pytest.mark.ci in example.marks


def test_every_task_has_a_page_in_the_readme():
    for task in tasks():
        assert f"(configs/{task}/README.md)" in PAGES["README.md"]
        for config in (ROOT / "configs" / task).glob("*.yaml"):
            assert config.stem in PAGES[f"configs/{task}/README.md"], f"page of {task} lacks {config.stem}"


@pytest.mark.parametrize("page", PROSE)
def test_sentences_are_short(page):
    assert [each for each in _sentences(PROSE[page]) if len(each.split()) > 40] == []


@pytest.mark.parametrize("page", PROSE)
def test_links_and_names_exist(page):
    text = PROSE[page]
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        is_file = not link.startswith(("https://", "http://"))
        assert not is_file or (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"
    for name in re.findall(r"`((?:mmcl|tasks|configs|notebooks|tests)/[\w/.]*)`", text):
        assert (ROOT / name).exists(), f"{page} names {name}"
    for name in re.findall(r"python (tests/[\w/.]+)", text):
        assert (ROOT / name).exists(), f"{page} runs {name}"
    for name in re.findall(r"--config (\w+)(?![\w.])", text):
        assert name in ("NAME", "FILE") or list(ROOT.glob(f"configs/*/{name}.yaml")), f"{page} names config {name}"


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """One cache for all snippets."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize(("before", "code"), list(_snippets()))
def test_snippets_run_alone(before, code, cache, tmp_path, request):
    for word, fixture in (("MMCL_DATA", "data_dir"), ("MMCL_WEIGHTS", "weights_dir")):
        if word in before:
            request.getfixturevalue(fixture)
    if "synth" in before:
        pytest.importorskip("espeakng_loader")
    if "GPU" in before and not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("no GPU")
    paths = filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
    environment = {**os.environ, "MMCL_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", list(_commands()))
def test_commands_are_valid(words, tmp_path, monkeypatch, mmcl_):
    """Every command line parses and names what exists; the quick ones run."""
    monkeypatch.chdir(tmp_path)
    command, name, arguments = typer.main.get_command(app), "mmcl", list(words)
    while hasattr(command, "commands") and arguments != ["--help"]:
        name, *arguments = arguments
        command = command.commands[name]
    if arguments == ["--help"] or (not arguments and name != "ls"):
        return  # the name of a command in prose
    context = command.make_context(name, list(arguments))
    values = context.params
    if name in ("run", "validate") and values["task"]:
        task, _, config = values["task"].partition("/")
        file = ROOT / "configs" / task / "demo.yaml"
        if not values["config"].endswith(".yaml"):  # else a file that an earlier command made
            file = find_config(task, config or values["config"])
        load_config(load_task(task).Config, file, values["settings"] or [])
    if name in ("ls", "cp"):
        assert mmcl_(*words).code == 0
    if name in ("check", "make") and re.fullmatch(r"\w+", values["name"]) and values["name"] not in OWN:
        catalog.find(values["name"])


def test_the_citation_is_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "version"} <= set(citation)
    assert citation["title"].split(":")[0] == "mmcl" and citation["license"] == "Apache-2.0"
    assert citation["version"] == __version__
    assert all({"name"} <= set(each) or {"family-names", "given-names"} <= set(each) for each in citation["authors"])
    assert f"## {__version__}" in PAGES["CHANGELOG.md"]

"""The API reference builds without warnings, with the public names of every package."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Importing pdoc here would make lazy packages of this process load all names.
pytestmark = [pytest.mark.skipif(find_spec("pdoc") is None, reason="no pdoc"), pytest.mark.slow, pytest.mark.ci]
PACKAGES = ["data", "encoders", "metrics", "models", "objectives", "rationales", "strategies", "unlearning"]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Folder of the pages, built by the command in the README."""
    command = re.search(r"`uv run --extra docs (pdoc .*?) -o build/api mmcl`", (ROOT / "README.md").read_text())
    folder = tmp_path_factory.mktemp("api")
    words = [sys.executable, "-m", *command[1].split(), "-o", str(folder), "mmcl"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "Warn" not in done.stderr + done.stdout, done.stderr
    return folder / "mmcl"


def test_every_public_name_has_an_entry_with_text(pages):
    for name in PACKAGES:
        page, package = (pages / f"{name}.html").read_text(), importlib.import_module(f"mmcl.{name}")
        for public in package.__all__:
            if not (pages / name / f"{public}.html").exists() or f'id="{public}"' in page:  # a module has its own page
                assert re.search(rf'<section id="{public}">.*?class="docstring', page, re.DOTALL), f"{name}.{public}"


def test_text_has_no_marks_of_another_format(pages):
    for name in ("objectives", "strategies", "models", "unlearning"):
        page = re.sub(r'<div class="pdoc-code.*?</div>', "", (pages / f"{name}.html").read_text(), flags=re.DOTALL)
        texts = re.findall(r'<div class="docstring">(.*?)</div>', page, re.DOTALL)
        for mark in (
            "~mmcl",
            ":class:",
            ":func:",
            "::\n",
            "====",
            "Initialize internal Module",
            "Define the computation",
        ):
            assert not [text for text in texts if mark in text], f"{name}: {mark}"

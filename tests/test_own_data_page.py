"""The examples of configs/OWN_DATA.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "configs" / "OWN_DATA.md").read_text(encoding="utf-8")


def _blocks(title: str) -> list[tuple[str, str]]:
    """Language and text of each code block below a heading."""
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("title", ["Speech", "Images", "Texts"])
def test_examples_run(title: str, data_dir: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "mmcl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m mmcl "$@"\n')
    program.chmod(0o755)
    path = os.pathsep.join((str(program.parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "MMCL_DATA": str(data_dir.resolve())}
    environment["MMCL_CACHE"] = str(tmp_path / "cache")
    blocks = _blocks(title)
    assert sum(text.count("\n") for _, text in blocks) <= 10
    out = ""
    for language, text in blocks:
        command = [sys.executable, "-c", text] if language == "python" else ["bash", "-e", "-c", text]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        out += done.stdout
    assert re.search(r": 0 errors, \d+ warnings\n", out) and "report.html" in out

"""Sections are made from signatures, so a default is defined in one place."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mmcl


def test_a_changed_default_of_a_constructor_changes_the_listing_and_the_preset(tmp_path):
    root = Path(mmcl.__file__).parent.parent
    for folder in ("mmcl", "tasks", "configs"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "mmcl/strategies/coconut.py"
    text = source.read_text()
    assert "mm_weight: NonNegative = 0.1," in text
    source.write_text(text.replace("mm_weight: NonNegative = 0.1,", "mm_weight: NonNegative = 0.37,"))
    code = (
        "import inspect\n"
        "from mmcl.__main__ import main\n"
        "from mmcl.strategies import coconut\n"
        "print(inspect.signature(coconut).parameters['mm_weight'].default)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "ls", "slu_incremental"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path), "PATH": "", "COLUMNS": "200"},
        capture_output=True,
        text=True,
    )
    printed = done.stdout.splitlines()
    assert printed and printed[0] == "0.37", done.stderr
    assert any(line.split()[:3] == ["coconut.mm_weight", "float", "0.37"] for line in printed)

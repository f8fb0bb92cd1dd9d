"""The command ``python -m mmcl``."""

import subprocess
import sys
from pathlib import Path

import tomllib

import mmcl
from mmcl.__main__ import main


def test_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "mmcl", "--version"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"mmcl {mmcl.__version__}\n", "")


def test_signals_are_handled_before_commands_are_imported():
    scripts = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"mmcl": f"{main.__module__}:{main.__name__}"}
    code = "import sys, mmcl.__main__; sys.exit(bool({'mmcl.cli', 'typer', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

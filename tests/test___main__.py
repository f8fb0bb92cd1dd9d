"""The command ``python -m mmcl``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
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


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_wait_passively_unless_told_otherwise(given, policy):
    code = (
        "import sys; from mmcl.__main__ import main\n"
        "sys.argv = ['mmcl', '--version']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import torch; torch.ones(200, 200) @ torch.ones(200, 200)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "TRUE"} | ({} if given is None else {"OMP_WAIT_POLICY": given})
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr

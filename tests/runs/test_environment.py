"""The recorded environment is correct."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mmcl
from mmcl.runs import environment


def test_versions_are_those_of_the_packages() -> None:
    versions = environment.describe_environment()["versions"]
    assert versions["mmcl"] == mmcl.__version__
    assert versions["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert None not in versions.values()


def test_command_is_quoted_for_a_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/mmcl", "run", "task", "class_order=[a b]"])
    assert environment.describe_environment()["command"] == "mmcl run task 'class_order=[a b]'"


def test_commit_and_changes_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    package = tmp_path / "mmcl"
    package.mkdir()
    (package / "environment.py").write_text("")
    monkeypatch.setattr(mmcl, "__file__", str(package / "__init__.py"))
    assert _commit() == (None, None)  # installed, not a checkout
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert _commit() == (git("rev-parse", "HEAD"), False)
    (package / "environment.py").write_text("changed")
    assert _commit() == (git("rev-parse", "HEAD"), True)
    monkeypatch.setenv("PATH", "")
    assert _commit() == (None, None)  # no git on this machine


def _commit() -> tuple[str | None, bool | None]:
    described = environment.describe_environment()
    return described["commit"], described["uncommitted_changes"]


def test_torch_is_not_imported() -> None:
    code = "import sys, mmcl.runs.environment as e; e.describe_environment(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

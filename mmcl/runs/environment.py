"""The environment of a run: command, time, versions, machine and commit."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import mmcl
from mmcl import __version__

PACKAGES = (
    "torch",
    "torchaudio",
    "transformers",
    "speechbrain",
    "avalanche-lib",
    "numpy",
    "safetensors",
    "pydantic",
)


def describe_environment() -> dict[str, object]:
    """Return command, time, versions and machine of this process, and the commit if mmcl runs from a checkout.

    >>> environment = describe_environment()
    >>> sorted(environment)
    ['command', 'commit', 'platform', 'processors', 'python', 'time', 'uncommitted_changes', 'versions']
    """
    commit, changed = _commit(Path(mmcl.__file__).parent.parent)
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "time": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "versions": {"mmcl": __version__, **{name: _version(name) for name in PACKAGES}},
        "commit": commit,
        "uncommitted_changes": changed,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit(root: Path) -> tuple[str | None, bool | None]:
    if not (root / ".git").exists():
        return None, None
    try:
        head, changes = (
            subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True)
            for arguments in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.SubprocessError):  # git is missing, or the folder belongs to another user
        return None, None
    return head.stdout.strip(), bool(changes.stdout.strip())

"""Runs that are killed, and the metrics that runs log."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

COMMAND = [sys.executable, "-W", "ignore", "-m", "mmcl"]


def rows(folder: Path) -> list[dict]:
    """Logged metrics without times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


def kill_after(lines: int, folder: Path, environment: dict[str, str], *arguments: str) -> None:
    """Start ``mmcl run`` with a folder, and kill it after it has logged a number of lines."""
    command = [*COMMAND, "run", *arguments, "--folder", str(folder)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = folder / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_bytes().count(b"\n") >= lines:
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    assert process.wait() == -signal.SIGKILL

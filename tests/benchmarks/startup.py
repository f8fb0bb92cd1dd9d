"""Start-up: seconds from the command to the first line of training, beside importing torch and Avalanche alone.

Each is a process of its own, in turn, several times over, after one run that compiles all imports. Medians are printed.

    python tests/benchmarks/startup.py
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

IMPORTS = ("torch", "avalanche.training")
RUNS = {
    "slu_incremental": ("strategy=naive", "seeds=0"),
    "contrastive_pretraining": ("objective=clip", "seeds=0"),
}


def seconds_to_import(module: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import {module}; print(1)"], check=True, capture_output=True
    )
    return time.perf_counter() - started


def seconds_to_train(task: str, settings: tuple[str, ...]) -> float:
    """Seconds until a tiny run logs its first epoch."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        command = [sys.executable, "-m", "mmcl", "run", task, "--config", "tiny", "--folder", metrics.parent, *settings]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not (metrics.exists() and metrics.stat().st_size) and process.poll() is None:
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        if process.wait():
            raise SystemExit(f"{task} failed: run `mmcl run {task} --config tiny {' '.join(settings)}`")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes of each kind (default: 5)")
    repeats = parser.parse_args().repeats
    seconds: dict[str, list[float]] = {}
    for _ in track(range(repeats + 1), "starting"):
        for module in IMPORTS:
            seconds.setdefault(f"import {module}", []).append(seconds_to_import(module))
        for task, settings in RUNS.items():
            seconds.setdefault(f"mmcl run {task}, first epoch", []).append(seconds_to_train(task, settings))
    table = Table("", "seconds", box=None, header_style="bold")
    for name, values in seconds.items():
        table.add_row(name, f"{statistics.median(values[1:]):.1f}")  # the first compiles imports
    Console().print(table)


if __name__ == "__main__":
    main()

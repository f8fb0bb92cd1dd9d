"""What a second process is worth: epochs of two processes against one, and against one with two threads.

Spoken digits (fsdd in MMCL_DATA, whisper-base in MMCL_WEIGHTS) are learnt by `mmcl run slu_incremental`, where the
encoder costs (the upper half of Whisper-base is trained) and where only a head is trained, on cached features. Runs
take turns; what is printed is the median, over rounds, of how many times faster an epoch is than with one process and
one thread beside it.

    python tests/benchmarks/processes.py
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

HEAD = ["encoder.pooling=mean_max", "data.options={}", "epochs=12"]
CASES = {
    "encoder-bound": ["encoder.tune_from=3", "data.options={speakers: [jackson]}", "batch_size=32", "epochs=3"],
    "head-bound, 32 a step": [*HEAD, "batch_size=32"],
    "head-bound, 1,024 a step": [*HEAD, "batch_size=1024"],
}
SHAPES = {"one process": (1, 1), "one process, two threads": (1, 2), "two processes": (2, 1)}


def epoch_seconds(settings: list[str], devices: int, threads: int) -> float:
    """Train, and return what the median epoch after the first took."""
    with tempfile.TemporaryDirectory() as folder:
        given = ["data.name=fsdd", "encoder.name=openai/whisper-base", "encoder.options={}", "classifier.hidden=256"]
        given += ["experiences=1", "strategy=naive", "seeds=0", f"devices={devices}", f"threads={threads}"]
        command = [sys.executable, "-W", "ignore", "-m", "mmcl", "run", "slu_incremental", "--folder"]
        done = subprocess.run(
            [*command, f"{folder}/run", "--config", "tiny", *given, *settings],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        rows = map(json.loads, Path(folder, "run", "metrics.jsonl").read_text().splitlines())
        seconds = [row["seconds"] for row in rows if row["kind"] == "epoch"]
    return statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is run (default: 5)")
    arguments = parser.parse_args()
    table = Table("epochs", *SHAPES, title="seconds (median), and times as fast as one process")
    for case, settings in CASES.items():
        found: dict[str, list[float]] = {name: [] for name in SHAPES}
        for _ in track(range(arguments.rounds), case, console=Console(stderr=True)):
            for name, (devices, threads) in SHAPES.items():
                found[name].append(epoch_seconds(settings, devices, threads))
        cells = []
        for seconds in found.values():
            ratios = [one / other for one, other in zip(found["one process"], seconds, strict=True)]
            cells.append(f"{statistics.median(seconds):.2f}, {statistics.median(ratios):.2f}")
        table.add_row(case, *cells)
    Console().print(table)


if __name__ == "__main__":
    main()

"""Time and memory of closed-form classifiers: a first experience, and a stream of many classes.

An experience has 10,000 samples of 1,024 dimensions and 100 classes, embedded already. The time is that of collecting
its statistics and of solving. The stream has 10,000 classes of one sample each. Peak memory includes torch itself.
On a busy machine, compare CPU seconds with --threads 1: threads that wait for each other count too.

    python tests/benchmarks/closed_form.py
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from mmcl.models.readouts import FeCAM, NearestClassMean, RanPAC, StreamingLDA

READOUTS = {
    "ncm": NearestClassMean,
    "slda": StreamingLDA,
    "ranpac": RanPAC,
    "fecam, class": FeCAM,
    "fecam, shared": lambda: FeCAM(covariance="shared"),
    "fecam, diagonal": lambda: FeCAM(covariance="diagonal"),
}
DIM, SAMPLES, BATCH = 1024, 10_000, 256


def measure(name: str, classes: int) -> None:
    """Print the seconds of collecting, of solving and of scoring a batch, CPU seconds, and the peak memory in GiB."""
    torch.manual_seed(0)
    labels = torch.arange(SAMPLES) % classes
    embeddings = torch.randn(SAMPLES, DIM)
    held_out = (torch.arange(SAMPLES) // classes) % 5 == 4
    readout = READOUTS[name]()
    readout.grow(range(classes))
    cpu, times = time.process_time(), [time.perf_counter()]
    for batch in zip(*(each.split(BATCH) for each in (embeddings, labels, held_out)), strict=True):
        readout.add(*batch)
    times.append(time.perf_counter())
    readout.solve()
    times.append(time.perf_counter())
    cpu = time.process_time() - cpu
    readout(embeddings[:BATCH])
    times.append(time.perf_counter())
    lines = Path("/proc/self/status").read_text().splitlines()  # ru_maxrss may be that of the process that started this
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024**2
    print(*(end - start for start, end in itertools.pairwise(times)), cpu, peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default: 2)")
    parser.add_argument("--one", nargs=2, metavar=("READOUT", "CLASSES"), help="measure one case in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.one:
        measure(arguments.one[0], int(arguments.one[1]))
        return
    columns = ("read-out", "classes", "collect", "solve", "score 256", "CPU of both", "peak memory")
    table = Table(*columns, title=f"{SAMPLES:,} samples x {DIM:,} dimensions")
    for classes in (100, 10_000):
        for name in READOUTS:
            command = [sys.executable, __file__, "--threads", str(arguments.threads), "--one", name, str(classes)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                refused = done.stderr.strip().splitlines()[-1].partition(": ")[2]
                table.add_row(name, f"{classes:,}", "refused")
                Console(stderr=True).print(f"{name}, {classes:,} classes: {refused}", soft_wrap=True)
                continue
            *seconds, peak = map(float, done.stdout.split())
            table.add_row(name, f"{classes:,}", *(f"{each:.2f} s" for each in seconds), f"{peak:.2f} GiB")
    Console().print(table)


if __name__ == "__main__":
    main()

"""What the objectives cost: time and memory of forward and backward, mmcl beside the libraries that people use.

Each is measured alone in a fresh process, in float32. The processes of one comparison follow one another, several
rounds of them; what is printed is the median over rounds of the time, and of the ratios within a round. Memory is the
peak above the inputs, at the first step. With one thread, times are those of the CPU, so that other processes count
less. The limit is four bare matrix products of batch x batch x dim, into memory that is there already: similarities
forward and again backward, and one product for each side's gradient.

    uv run --extra bench python tests/benchmarks/objectives.py
    uv run --extra bench python tests/benchmarks/objectives.py --batches 1024 --threads 2 --only clip siglip

On a GPU (`--device cuda`), `objectives_gpu.py` measures; it takes the other options from there.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

PEERS = {
    "clip": "open_clip",
    "siglip": "open_clip",
    "nt_xent": "lightly",
    "dcl": "lightly",
    "sup_con": "pytorch-metric-learning",
    "cwcl": None,
    "m3co": None,
    "simple_contrastive": "plain torch",
    "hard_contrastive": "plain torch",
    "simlap": "plain torch",
    "cacr": "plain torch",
    "isogclr": "plain torch",
    "supremix": "plain torch",
    "conr": "plain torch",
    "groco": "diffsort",
    "moco": "lightly",
    "mochi": "plain torch",
    "mw": "plain torch",
    "susana": "plain torch",
    "mv_info_nce": "plain torch",
    "mv_dhel": "plain torch",
    "sep_clr": "plain torch",
    "core_tuning": "plain torch",
}


def limit(name: str) -> Callable:
    import torch

    room: list = []

    def products(a, b, labels):  # type: ignore[no-untyped-def]
        a, b = a.detach(), b.detach()
        if not room:
            room.extend((torch.zeros(len(a), len(b)), torch.zeros_like(a), torch.zeros_like(b)))
        for _ in range(2):
            torch.mm(a, b.T, out=room[0])
        torch.mm(room[0], b, out=room[1])
        torch.mm(room[0].T, a, out=room[2])

    return products


def memory(key: str) -> float:
    """MiB, from what Linux says of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 1024


def measure(side: str, name: str, batch: int, dim: int, threads: int, repeats: int) -> dict[str, float]:
    """What one process does."""
    warnings.simplefilter("ignore")
    import losses
    import torch
    from torch.nn.functional import normalize

    torch.set_num_threads(threads)
    torch.manual_seed(0)  # for the same random mixtures and gates on both sides
    step = limit(name) if side == "limit" else losses.ours(name) if side == "mmcl" else losses.peer(name, PEERS[name])
    generator = torch.Generator().manual_seed(0)

    def inputs(rows: int) -> list[torch.Tensor]:
        sides = [normalize(torch.randn(rows, dim, generator=generator), dim=1).requires_grad_() for _ in range(2)]
        return [*sides, torch.randint(0, losses.LABELS, (rows,), generator=generator)]

    def run(a: torch.Tensor, b: torch.Tensor, labels: torch.Tensor) -> float:
        a.grad = b.grad = None
        loss = step(a, b, labels)
        if loss is None:
            return 0.0
        loss.backward()
        return loss.item()

    run(*inputs(min(600, batch)))  # whatever is set up once
    if side == "limit":
        step = limit(name)
    given = inputs(batch)
    ctypes.CDLL(None).malloc_trim(0)  # what was freed by now would hide as much of the step's own
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    value = run(*given)
    peak = memory("VmHWM") - before
    seconds = []
    clock = time.process_time if threads == 1 else time.perf_counter
    for _ in range(repeats):
        started = clock()
        run(*given)
        seconds.append(clock() - started)
    return {"seconds": statistics.median(seconds), "peak": peak, "value": value}


def ask(side: str, name: str, batch: int, dim: int, threads: int, steps: int = 21) -> dict[str, float] | None:
    """Have a process of its own measure; None if it had not enough memory."""
    repeats = max(1, min(steps, 2 * 4096**2 // batch**2))
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}  # compile once
    arguments = json.dumps([side, name, batch, dim, threads, repeats])
    done = subprocess.run(
        [sys.executable, __file__, "--measure", arguments],
        capture_output=True,
        text=True,
        env=environment | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
    )
    if done.returncode in (-9, 137):
        return None
    if done.returncode:
        raise SystemExit(f"{side} {name} at batch {batch} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, batch: int, dim: int, threads: int, rounds: int, steps: int = 21) -> list[str]:
    """One row of the table."""
    with_peer = PEERS[name] is not None and batch <= 8192
    found: dict[str, list[dict[str, float]]] = {"mmcl": [], "peer": [], "limit": []}
    for _ in range(rounds):
        for side in ("mmcl", "peer", "limit") if with_peer else ("mmcl", "limit") if batch <= 8192 else ("mmcl",):
            measured = ask(side, name, batch, dim, threads, steps)
            if measured:
                found[side].append(measured)

    for one, other in zip(found["mmcl"], found["peer"], strict=False):
        if abs(one["value"] - other["value"]) > 1e-4 * abs(other["value"]):
            raise SystemExit(f"{name}: mmcl's loss is {one['value']}, the peer's {other['value']}: not the same thing")

    def median(side: str, key: str) -> float | None:
        return statistics.median(one[key] for one in found[side]) if found[side] else None

    def ratio(over: str, under: str, key: str) -> str:
        pairs = zip(found[over], found[under], strict=False)
        ratios = [one[key] / max(other[key], 1e-9) for one, other in pairs]
        return f"{statistics.median(ratios):.2f}" if ratios else ""

    def show(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    return [
        name,
        str(batch),
        str(threads),
        show(median("mmcl", "seconds"), ".3f"),
        show(median("mmcl", "peak"), ",.0f"),
        PEERS[name] or "",
        show(median("peer", "seconds"), ".3f"),
        show(median("peer", "peak"), ",.0f"),
        ratio("peer", "mmcl", "seconds"),
        ratio("peer", "mmcl", "peak"),
        ratio("mmcl", "limit", "seconds"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="objectives")
    parser.add_argument("--batches", nargs="+", type=int, default=[1024, 4096, 8192, 32768])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3, help="how often each comparison is made")
    parser.add_argument("--steps", type=int, default=21, help="largest number of steps that are timed in a process")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="cuda has the options of its own file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    if parser.parse_known_args()[0].device == "cuda":
        import objectives_gpu

        objectives_gpu.main()
        return
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    table = Table(
        "objective", "batch", "threads", "mmcl s", "MiB", "peer", "s", "MiB", "times faster", "times less memory",
        "times four products",
    )  # fmt: skip
    plan = [
        (name, batch, threads)
        for threads in arguments.threads
        for batch in arguments.batches
        for name in arguments.only
    ]
    for name, batch, threads in track(plan, "measuring", console=Console(stderr=True)):
        rounds = 1 if batch > 8192 else arguments.rounds
        row = compare(name, batch, arguments.dim, threads, rounds, arguments.steps)
        print("  ".join(row), file=sys.stderr, flush=True)
        table.add_row(*row)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

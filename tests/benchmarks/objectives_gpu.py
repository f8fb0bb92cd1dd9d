"""Time and memory of the objectives on a GPU, beside other libraries; `objectives.py --device cuda` runs it.

Each row is forward and backward in one process: the median time by CUDA events, and the peak memory above the inputs.
Beside it is the ratio to four bare matrix products of the objective's own batch x batch x dim, measured in the same
run: similarities twice, and one product for each side's gradient. NT-Xent and DCL compare 2 x batch views. Inputs are
bfloat16 (`bf16`), or float32 with TF32 products (`tf32`) or without (`ieee`). The cheapest rows come first, and no row
starts after `--seconds`.

    uv run --extra bench python tests/benchmarks/objectives.py --device cuda --seconds 300 --json rows.json
    uv run --extra bench python tests/benchmarks/objectives_gpu.py --device cpu --batches 64 --modes ieee   # a trial
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from losses import LABELS, Loss, ours, peer
from torch import Tensor
from torch.nn.functional import normalize

MODES = {"bf16": torch.bfloat16, "tf32": torch.float32, "ieee": torch.float32}
COST = {"bf16": 1, "tf32": 2, "ieee": 14}  # of a product, as a multiple
TOLERANCE = {"bf16": 2e-2, "tf32": 5e-3, "ieee": 1e-4}  # of a peer's value
PEERS = {
    "clip": ("open_clip", "open_clip compiled", "inf_cl"),
    "siglip": ("open_clip", "siglip_kernel"),
    "nt_xent": ("lightly",),
    "dcl": ("lightly",),
    "sup_con": ("pytorch-metric-learning",),
    "cwcl": (),
    "m3co": (),
}
QUADRATIC = {"lightly": 8192, "pytorch-metric-learning": 8192}  # largest batch of peers that need a matrix of all pairs
VIEWS = {"nt_xent": 2, "dcl": 2}
REPEATS, SECONDS = 7, 3.0  # of one row at most


class Clock:
    """Times and memory of steps on the CPU, which reports no peak."""

    def milliseconds(self, step: Callable[[], Any]) -> float:
        started = time.perf_counter()
        step()
        return 1000 * (time.perf_counter() - started)

    def peak(self, step: Callable[[], Any]) -> float | None:
        """Run a step, and return its peak memory in MiB above what is allocated."""
        step()
        return None

    def clear(self) -> None:
        gc.collect()


class CudaClock(Clock):
    """Times by CUDA events, and memory of PyTorch's allocator."""

    def milliseconds(self, step: Callable[[], Any]) -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end)

    def peak(self, step: Callable[[], Any]) -> float | None:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20

    def clear(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


class Case(NamedTuple):
    """One row to measure."""

    batch: int
    mode: str
    name: str
    side: str


class Inputs(NamedTuple):
    a: Tensor
    b: Tensor
    labels: Tensor


def inputs(batch: int, dim: int, mode: str, device: str) -> Inputs:
    """Two normalized sides and labels, the same in every run."""
    torch.manual_seed(0)
    sides = [normalize(torch.randn(batch, dim, device=device), dim=1) for _ in range(2)]
    labels = torch.randint(0, LABELS, (batch,), device=device)
    return Inputs(*(side.to(MODES[mode]).requires_grad_() for side in sides), labels)


def four_products(rows: int, dim: int, mode: str, device: str, clock: Clock) -> float:
    """Milliseconds of four products of rows x rows x dim, in strips of at most 16,384 rows."""
    a, b = (side.detach() for side in inputs(rows, dim, mode, device)[:2])
    strip = min(rows, 16384)
    scores = torch.empty(strip, rows, device=device, dtype=a.dtype)
    one, other = torch.empty_like(a[:strip]), torch.empty_like(b)

    def products() -> None:
        torch.mm(a[:strip], b.T, out=scores)
        torch.mm(a[:strip], b.T, out=scores)
        torch.mm(scores, b, out=one)
        torch.mm(scores.T, a[:strip], out=other)

    products()
    return statistics.median(clock.milliseconds(products) for _ in range(5)) * rows / strip


def measure(step: Loss, given: Inputs, clock: Clock) -> dict[str, Any]:
    """Return the median time, the peak memory and the value of a loss with its gradient."""

    def run() -> Tensor:
        given.a.grad = given.b.grad = None
        loss = step(*given)
        loss.backward()
        return loss.detach()

    value = run().item()  # compiles what is compiled
    once = clock.milliseconds(run) / 1000
    given.a.grad = given.b.grad = None
    clock.clear()
    peak = clock.peak(run)
    repeats = max(1, min(REPEATS, int(SECONDS / max(once, 1e-5))))
    return {"ms": statistics.median(clock.milliseconds(run) for _ in range(repeats)), "MiB": peak, "value": value}


def plan(names: Sequence[str], batches: Sequence[int], modes: Sequence[str]) -> Iterator[Case]:
    """Yield the rows to measure, cheap ones first; mmcl before its peers."""
    settings = [(batch, mode) for batch in batches for mode in modes]
    for batch, mode in sorted(settings, key=lambda each: each[0] ** 2 * COST[each[1]]):
        for name in names:
            for side in ("mmcl", *PEERS[name]):
                if batch <= QUADRATIC.get(side, batch):
                    yield Case(batch, mode, name, side)


class Comparison:
    """Rows of the table, measured one after another.

    Args:
        dim: dimension of the inputs.
        device: ``"cuda"``, or ``"cpu"`` for a trial.
    """

    def __init__(self, dim: int, device: str) -> None:
        self.dim, self.device, self.rows = dim, device, []  # type: ignore[var-annotated]
        self.clock = CudaClock() if device == "cuda" else Clock()
        self._limits: dict[tuple[int, str], float] = {}
        self._values: dict[tuple[int, str, str], float] = {}
        self._missing: set[str] = set()

    def add(self, case: Case) -> None:
        """Measure a row; one that fails states its error, and a library that is not installed has no rows."""
        if case.side in self._missing:
            return
        torch.backends.cuda.matmul.allow_tf32 = case.mode == "tf32"
        row: dict[str, Any] = {**case._asdict(), "dim": self.dim}
        try:
            row["products ms"] = self._limit(case.batch * VIEWS.get(case.name, 1), case.mode)
            row |= self._measured(case)
        except ImportError as error:
            self._missing.add(case.side)
            print(f"{case.side} is left out ({error}): install the extra bench", file=sys.stderr)
            return
        except torch.OutOfMemoryError:
            row["error"] = "out of memory"
        except Exception as error:  # a peer's, or of a compiler
            row["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
        self.clock.clear()
        self.rows.append(row)

    def _measured(self, case: Case) -> dict[str, Any]:
        given = inputs(case.batch, self.dim, case.mode, self.device)
        own = case.side == "mmcl"
        loss = ours(case.name) if own else peer(case.name, case.side, self.device)
        found = measure(loss, given, self.clock)
        place = (case.batch, case.mode, case.name)
        expected = self._values.setdefault(place, found["value"]) if own else self._values.get(place, found["value"])
        difference = abs(found["value"] - expected) / max(abs(expected), 1e-12)
        return found | {"difference": difference, "is_same": difference <= TOLERANCE[case.mode]}

    def _limit(self, rows: int, mode: str) -> float:
        if (rows, mode) not in self._limits:
            self._limits[rows, mode] = four_products(rows, self.dim, mode, self.device, self.clock)
            self.clock.clear()
        return self._limits[rows, mode]

    def table(self) -> str:
        """Return the rows in Markdown."""
        head = "objective", "side", "batch", "inputs", "ms", "MiB", "times four products", "value against mmcl's"
        lines = [head, ("---",) * len(head), *(_cells(row) for row in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    place = row["name"], row["side"], f"{row['batch']:,}", row["mode"]
    if "error" in row:
        return *place, row["error"], "", "", ""
    peak = "" if row["MiB"] is None else f"{row['MiB']:,.0f}"
    value = f"{row['difference']:.0e}" if row["side"] != "mmcl" else ""
    ratio = row["ms"] / row["products ms"]
    return *place, f"{row['ms']:.3g}", peak, f"{ratio:.2f}", value if row["is_same"] else f"{value}, not the same loss"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS), help="objectives")
    parser.add_argument("--batches", nargs="+", type=int, default=[256, 1024, 8192, 32768, 65536])
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES), help="precision of the inputs")
    parser.add_argument("--without", nargs="+", default=[], metavar="SIDE", help="peers to leave out")
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=300.0, help="no row starts later")
    parser.add_argument("--json", type=Path, help="file of all rows, written after each")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch finds no GPU: use --device cpu")
    warnings.simplefilter("ignore")
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, dim {given.dim}", flush=True)
    started, comparison = time.monotonic(), Comparison(given.dim, given.device)
    cases = [each for each in plan(given.only, given.batches, given.modes) if each.side not in given.without]
    for number, case in enumerate(cases):
        if time.monotonic() - started > given.seconds:
            print(f"{len(cases) - number} of {len(cases)} rows left out, as {given.seconds:.0f} s are over", flush=True)
            break
        comparison.add(case)
        if comparison.rows:
            print("  ".join(_cells(comparison.rows[-1])), file=sys.stderr, flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps(comparison.rows, indent=1))
    print(comparison.table())


if __name__ == "__main__":
    main()

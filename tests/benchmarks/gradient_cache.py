"""What gradient caching costs: memory and time of a step over a large batch, against one over a micro-batch alone.

The towers are a transformer of 4 layers and 256 dimensions on sequences of 32 steps, and a locked linear one; CLIP
compares all pairs. Each step is measured alone in a fresh process, as the peak above what was there before its first
step. The gradient of the large batch is compared with that of one whole graph, where there is memory for it.

    python tests/benchmarks/gradient_cache.py
    python tests/benchmarks/gradient_cache.py --batch 4096 --micro-batch 64 --threads 2
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

WIDTH, STEPS, LAYERS = 256, 32, 4


def memory(key: str) -> float:
    """A line of /proc/self/status in MiB."""
    match = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1024


def measure(batch: int, micro: int, threads: int, layers: int) -> dict[str, float]:
    """Take one step over ``batch`` pairs, ``micro`` at a time; 0 for one graph of all."""
    import torch
    from torch import nn

    from mmcl.freeze import freeze
    from mmcl.models.gradient_cache import gradient_cached_backward
    from mmcl.objectives import CLIPLoss

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

        def forward(self, steps: torch.Tensor) -> torch.Tensor:
            return self.layers(steps).mean(1)

    towers = Tower(), freeze(nn.Linear(64, WIDTH))
    inputs = torch.randn(batch, STEPS, WIDTH), torch.randn(batch, 64)
    few = [(inputs[0][:4], inputs[1][:4])] * 2  # what is made once: kernels, gradients
    gradient_cached_backward(CLIPLoss(), towers, few)
    towers[0].zero_grad(set_to_none=False)
    before, started = memory("VmRSS"), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    if micro:
        parts = list(zip(*(side.split(micro) for side in inputs), strict=True))
        gradient_cached_backward(CLIPLoss(block_size=256), towers, parts)
    else:
        CLIPLoss()(towers[0](inputs[0]), towers[1](inputs[1])).backward()
    seconds = time.perf_counter() - started
    gradient = torch.cat([parameter.grad.flatten() for parameter in towers[0].parameters()])  # type: ignore[union-attr]
    torch.save(gradient, os.environ["GRADIENT"])
    return {"seconds": seconds, "mebibytes": memory("VmHWM") - before}


def ask(batch: int, micro: int, threads: int, layers: int, gradient: Path) -> dict[str, float]:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--measure", *map(str, (batch, micro, threads, layers))]
    environment = {**os.environ, "GRADIENT": str(gradient), "OMP_NUM_THREADS": str(threads)}
    environment["MALLOC_MMAP_THRESHOLD_"] = "131072"  # blocks that are freed are given back, and not counted again
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4096, help="pairs that are compared (default: 4096)")
    parser.add_argument("--micro-batch", type=int, default=64, help="pairs at a time (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--measure", type=int, nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*arguments.measure)))
        return
    import tempfile

    import torch

    large, small = arguments.batch, arguments.micro_batch
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("alone", "cached", "whole", "checked")]
        alone = ask(small, 0, arguments.threads, LAYERS, paths[0])
        cached = ask(large, small, arguments.threads, LAYERS, paths[1])
        ask(large, 0, arguments.threads, 1, paths[2])  # of one layer, whose whole graph fits into memory
        ask(large, small, arguments.threads, 1, paths[3])
        whole, checked = (torch.load(path, weights_only=True) for path in paths[2:])
    table = Table("step", "seconds", "MiB", "times the memory")
    table.add_row(f"{small} pairs, one graph", f"{alone['seconds']:.2f}", f"{alone['mebibytes']:.0f}", "1")
    ratio = cached["mebibytes"] / alone["mebibytes"]
    row = f"{large} pairs, {small} at a time", f"{cached['seconds']:.2f}", f"{cached['mebibytes']:.0f}", f"{ratio:.2f}"
    table.add_row(*row)
    Console().print(table)
    print(
        f"gradient of {large} pairs, one layer: largest difference {(whole - checked).abs().max():.1e} from one graph, "
        f"largest entry {whole.abs().max():.1e}"
    )


if __name__ == "__main__":
    main()

"""What a training run of M3CoL on ROSMAP takes: mmcl against a plain PyTorch loop with hand-written dense losses.

Three views of 200 features (ROSMAP in MMCL_DATA, all 245 samples a step), the published recipe: encoders and heads of
width 1000, M3Co in the first third of the steps, MultiSClip after, Adam at 2e-3. The plain loop is written as one
would from the paper: a matrix of targets, log-softmax of a matrix of similarities, ``torch.optim.Adam``. Both are
timed in 32 bits and with ``precision: bf16-mixed``, which is ``torch.autocast`` about the model. Loops are timed in
turn, in rounds; what is printed is the median, and that of the ratios to the plain loop beside it.

    python tests/benchmarks/multimodal_training.py
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, log_softmax, normalize

from mmcl.data import open_dataset
from mmcl.encoders.tabular import xavier
from mmcl.progress import progress_display
from mmcl.sections.encoders import EncoderSection
from mmcl.sections.optimizer import OptimizerSection

warnings.simplefilter("ignore")

VIEWS, SHARE, WEIGHT = ("mrna", "methylation", "mirna"), 0.33, 0.1


def m3co(mixed: Tensor, fixed: Tensor, permutation: Tensor, lam: Tensor) -> Tensor:
    logits = normalize(mixed) @ normalize(fixed).T / 0.1
    targets = torch.diag(lam)
    targets[torch.arange(len(lam)), permutation] += 1 - lam
    forward = -(targets * log_softmax(logits, 1)).sum(1).mean()
    backward = -(targets.T * log_softmax(logits.T, 1)).sum(1).mean()
    return (forward + backward) / 2


def soft_clip(one: Tensor, other: Tensor) -> Tensor:
    one, other = normalize(one), normalize(other)
    targets = (other @ other.T / 0.125).softmax(1)
    logits = one @ other.T / 0.125
    forward = -(targets * log_softmax(logits, 1)).sum(1).mean()
    backward = -(targets * log_softmax(logits.T, 1)).sum(1).mean()
    return (forward + backward) / 2


def mixed(encoding: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    size = len(encoding)
    lam = torch.distributions.Beta(0.15, 0.15).sample((size,))
    lam[torch.rand(size) > 0.5] = 1.0
    permutation = torch.randperm(size)
    return lam[:, None] * encoding + (1 - lam[:, None]) * encoding[permutation], permutation, lam


class Plain(nn.Module):
    def __init__(self, features: dict[str, int], width: int, classes: int) -> None:
        super().__init__()
        two = [nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width)) for size in features.values()]
        self.encoders = nn.ModuleList(two)
        sizes = [width] * len(features) + [width * len(features)]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, classes)) for size in sizes
        )
        xavier(self)

    def forward(self, views: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        encoded = [encoder(view) for encoder, view in zip(self.encoders, views, strict=True)]
        inputs = [*encoded, torch.cat(encoded, 1)]
        return encoded, [head(each) for head, each in zip(self.heads, inputs, strict=True)]


def plain(data: Any, width: int, steps: int, precision: str = "32") -> None:
    """As one would write it by hand."""
    batch = data.batch(torch.arange(len(data)))
    views, labels = [], batch["label"]
    for name in VIEWS:
        low, high = batch[name].amin(0), batch[name].amax(0)
        views.append((batch[name] - low) / (high - low + 1e-10))
    model = Plain(data.features, width, len(data.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=1e-4)
    for step in range(steps):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, precision == "bf16-mixed"):
            encoded, logits = model(views)
        encoded, logits = [each.float() for each in encoded], [each.float() for each in logits]
        pairs = [(0, 1), (1, 2), (2, 0)]
        if step < int(SHARE * steps):
            mixtures = [mixed(encoding) for encoding in encoded]
            contrast = sum(m3co(mixtures[a][0], encoded[b], *mixtures[a][1:]) for a, b in pairs)
        else:
            contrast = sum(soft_clip(encoded[a], encoded[b]) for a, b in pairs)
        loss = sum(cross_entropy(each, labels) for each in logits) + WEIGHT * contrast
        loss.backward()
        optimizer.step()


def ours(data: Any, width: int, steps: int, precision: Literal["32", "bf16-mixed"] = "32") -> None:
    from mmcl.runs.tracking import Tracking
    from mmcl.sections.views import MultimodalSection, ViewsSection, fit

    view = EncoderSection(modality="tabular", name="mlp", options={"dim": width})
    settings = MultimodalSection(
        data=ViewsSection(name="rosmap"),
        views=dict.fromkeys(VIEWS, view),
        hidden=width,
        optimizer=OptimizerSection(learning_rate=2e-3, weight_decay=1e-4),
        epochs=steps,
        every=steps,
        batch_size=len(data),
        precision=precision,
    )
    parts = {"train": settings.open(["train", "valid"]), "test": settings.open(["test"])}
    with progress_display() as progress:
        fit(settings, parts, VIEWS, "m3col", 0, on="test", tracking=Tracking(None, "m3col", 0, progress, steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each loop is timed")
    parser.add_argument("--steps", type=int, default=500, help="of a training run")
    parser.add_argument("--width", type=int, default=1000, help="of encoders and heads")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = open_dataset("rosmap", "train") + open_dataset("rosmap", "valid")
    sizes = (arguments.width, arguments.steps)
    loops = {
        "plain PyTorch": lambda: plain(data, *sizes),
        "mmcl": lambda: ours(data, *sizes),
        "plain PyTorch, bf16-mixed": lambda: plain(data, *sizes, precision="bf16-mixed"),
        "mmcl, bf16-mixed": lambda: ours(data, *sizes, precision="bf16-mixed"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(arguments.rounds):
        for name, loop in loops.items():
            torch.manual_seed(0)
            started = time.perf_counter()
            loop()
            seconds[name].append(time.perf_counter() - started)
    first = next(iter(loops))
    table = Table("loop", "seconds (median)", f"times '{first}' (median)")
    for name, measured in seconds.items():
        ratios = [one / other for one, other in zip(measured, seconds[first], strict=True)]
        table.add_row(name, f"{statistics.median(measured):.2f}", f"{statistics.median(ratios):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

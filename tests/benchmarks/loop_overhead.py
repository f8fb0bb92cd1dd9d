"""Training loops of mmcl against bare PyTorch loops and Avalanche's own, on the same features and head.

Each loop trains on the second of two experiences with a memory of the first: a head of one hidden layer on frozen
features. They are those of FSDD's digits (FSDD in MMCL_DATA, whisper-base in MMCL_WEIGHTS), or made at random. A bare
loop is measured twice: as often written, with ``loss.item()`` in each step, which waits for a GPU, and without. The
loops take turns, and the ratios are medians over the turns.

    python tests/benchmarks/loop_overhead.py
    python tests/benchmarks/loop_overhead.py --device cuda --strategies replay coconut --batch-size 32 1024 --made 20000
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from types import SimpleNamespace
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from mmcl.data import open_dataset
from mmcl.encoders import Encoder, build_encoder, cached_features
from mmcl.encoders.feature_dataset import FeatureDataset
from mmcl.encoders.feature_store import FeatureSpan

warnings.simplefilter("ignore")

DIM, HIDDEN, CLASSES, SPACE = 1024, 256, 10, 512
TEMPERATURE, MM_WEIGHT, NSPT_WEIGHT = 0.1, 0.1, 0.5


class Setting(NamedTuple):
    """What is the same in all loops of a comparison."""

    data: FeatureDataset
    encoder: Encoder
    strategy: str
    device: torch.device
    batch_size: int
    memory: int
    epochs: int


def fsdd() -> tuple[FeatureDataset, Encoder]:
    """Features of whisper-base of spoken digits."""
    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    return cached_features(open_dataset("fsdd", "train"), encoder), encoder


def made(samples: int) -> tuple[FeatureDataset, Encoder]:
    """Random features, and an encoder that has their size; it is not called."""
    torch.manual_seed(0)
    labels = (torch.arange(samples) % CLASSES).tolist()
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    source = SimpleNamespace(classes=names, labels=labels, texts=[names[label] for label in labels])
    spans, ids = [FeatureSpan(row, 1, 0) for row in range(samples)], [str(row) for row in range(samples)]
    encoder = build_encoder("audio", "cnn", pooling="mean_max", frozen=True)
    encoder.dim = DIM // 2
    return FeatureDataset(source, ids, torch.randn(samples, DIM), spans, pooled=True), encoder


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)


class Bare(nn.Module):
    """Head, and for coconut the space of audio and text: the mean of trained word vectors, projected."""

    def __init__(self, with_space: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk, self.head = nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU()), nn.Linear(HIDDEN, CLASSES)
        if with_space:
            self.words = nn.Embedding(4097, 256)
            self.audio, self.text = nn.Linear(HIDDEN, SPACE), nn.Linear(256, SPACE)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.trunk(features)
        return self.head(embedding), embedding

    def project(self, embedding: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.words(words).mean(1)
        return normalize(self.audio(embedding), dim=1), normalize(self.text(pooled), dim=1)


def contrasts(model: Bare, teacher: Bare, features: Tensor, embedding: Tensor, words: Tensor, labels: Tensor) -> Tensor:
    """The terms of COCONUT in plain PyTorch: anchors of MM are new samples, those of NSPT samples from the memory."""
    audio, text = model.project(embedding, words)
    with torch.no_grad():
        taught = teacher.project(teacher(features)[1], words)
    is_old, same = labels < CLASSES // 2, (labels[:, None] == labels).float()
    similarities = audio @ text.T / TEMPERATURE
    share = same / same.sum(1, keepdim=True)
    both = similarities.logsumexp(1) + similarities.logsumexp(0) - (share * (similarities + similarities.T)).sum(1)
    loss = MM_WEIGHT * (both * ~is_old).sum() / (~is_old).sum().clamp(min=1)
    positives = same * is_old
    positives = positives / positives.sum(1, keepdim=True).clamp(min=1)
    for own, target in zip((audio, text), taught, strict=True):
        each = (own @ own.T / TEMPERATURE).logsumexp(1) - (positives * (own @ target.T / TEMPERATURE)).sum(1)
        loss = loss + NSPT_WEIGHT * (each * is_old).sum() / is_old.sum().clamp(min=1)
    return loss


def bare(setting: Setting, *, reads: bool) -> Callable[[], None]:
    """A loop as one would write it by hand; with ``reads``, it reads the loss in each step."""
    with_space = setting.strategy == "coconut"
    model = Bare(with_space).to(setting.device)
    optimizer, teacher = optimizer_of(model), deepcopy(model)
    batch = setting.data.batch(torch.arange(len(setting.data)))
    words = build_encoder("text", "words").frozen_features(batch["text"])[0][:, :, 0]
    features, labels, words = (each.to(setting.device) for each in (batch["features"], batch["label"], words))
    old, new = (torch.nonzero(batch["label"] // 5 == half).flatten() for half in (0, 1))
    rows = torch.cat([new, old[torch.randperm(len(old))[: setting.memory]]]).to(setting.device)

    def run() -> None:
        for _ in range(setting.epochs):
            total: float | Tensor = 0.0
            order = torch.randperm(len(rows)).to(setting.device)
            for chosen in rows[order].split(setting.batch_size):
                optimizer.zero_grad()
                logits, embedding = model(features[chosen])
                loss = cross_entropy(logits, labels[chosen])
                if with_space:
                    loss = loss + contrasts(model, teacher, features[chosen], embedding, words[chosen], labels[chosen])
                loss.backward()
                optimizer.step()
                total += loss.item() if reads else loss.detach()
            float(total)

    return run


def ours(setting: Setting) -> Callable[[], None]:
    from mmcl import strategies
    from mmcl.data import class_incremental
    from mmcl.models import SLUClassifier

    benchmark = class_incremental(setting.data, setting.data, experiences=2, class_order=list(range(CLASSES)))
    with_space = setting.strategy == "coconut"
    text_encoder = build_encoder("text", "words") if with_space else None
    model = SLUClassifier(setting.encoder, hidden=HIDDEN, text_encoder=text_encoder, projection=SPACE)
    settings = {"memory_size": setting.memory, "batch_size": setting.batch_size, "device": setting.device}
    if with_space:
        settings |= {"temperature": TEMPERATURE, "mm_weight": MM_WEIGHT, "nspt_weight": NSPT_WEIGHT}
    strategy = getattr(strategies, setting.strategy)(
        model.to(setting.device), optimizer_of(model), epochs=1, **settings
    )
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    strategy.train_epochs = setting.epochs
    return lambda: strategy.train(benchmark.train_stream[1], eval_streams=[])


def avalanche(setting: Setting, *, evaluator: bool) -> Callable[[], None]:
    from avalanche.benchmarks import class_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
    from torch.utils.data import TensorDataset

    batch = setting.data.batch(torch.arange(len(setting.data)))
    source = TensorDataset(batch["features"], batch["label"])
    source.targets = setting.data.labels
    sets = {name: as_classification_dataset(source) for name in ("train", "test")}
    benchmark = class_incremental_benchmark(sets, num_experiences=2, class_order=list(range(CLASSES)))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)).to(setting.device)
    metrics = [accuracy_metrics(minibatch=True, epoch=True), loss_metrics(minibatch=True, epoch=True)]
    half = setting.batch_size // 2
    strategy = Naive(
        model=model,
        optimizer=optimizer_of(model),
        train_mb_size=setting.batch_size,
        train_epochs=1,
        device=setting.device,
        plugins=[ReplayPlugin(mem_size=setting.memory, batch_size=half, batch_size_mem=half)],
        evaluator=EvaluationPlugin(*(metrics if evaluator else []), loggers=[]),
    )
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    strategy.train_epochs = setting.epochs
    return lambda: strategy.train(benchmark.train_stream[1], eval_streams=[])


def loops_of(setting: Setting, with_avalanche: bool) -> Iterator[tuple[str, Callable[[], None]]]:
    yield "bare PyTorch, reads each loss", bare(setting, reads=True)
    yield "bare PyTorch", bare(setting, reads=False)
    yield "mmcl", ours(setting)
    if with_avalanche and setting.strategy == "replay":
        yield "Avalanche, no metrics", avalanche(setting, evaluator=False)
        yield "Avalanche, accuracy and loss", avalanche(setting, evaluator=True)


def seconds_of(loop: Callable[[], None], device: torch.device) -> float:
    """Seconds of a run: of this process alone on a CPU, which may be shared; on a GPU, until all its work is done."""
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = clock()
    loop()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, or another device of torch")
    parser.add_argument("--strategies", nargs="+", default=["replay"], choices=["replay", "coconut"])
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32])
    parser.add_argument("--repeats", type=int, default=15, help="how often each loop is timed")
    parser.add_argument("--epochs", type=int, default=10, help="epochs each time")
    parser.add_argument("--memory", type=int, default=500)
    parser.add_argument("--made", type=int, default=0, metavar="SAMPLES", help="random features instead of FSDD's")
    parser.add_argument("--avalanche", action=argparse.BooleanOptionalAction, default=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    data, encoder = made(arguments.made) if arguments.made else fsdd()
    table = Table("strategy", "batch", "loop", "seconds (median)", "times the loop that reads", "times the bare loop")
    for strategy in arguments.strategies:
        for batch_size in arguments.batch_size:
            setting = Setting(data, encoder, strategy, device, batch_size, arguments.memory, arguments.epochs)
            loops = dict(loops_of(setting, arguments.avalanche))
            seconds: dict[str, list[float]] = {name: [] for name in loops}
            for turn in range(arguments.repeats + 1):
                for name, loop in loops.items():
                    found = seconds_of(loop, device)
                    if turn:  # the first turn warms up
                        seconds[name].append(found)
            bases = list(seconds.values())[:2]
            for name, measured in seconds.items():
                ratios = [statistics.median(a / b for a, b in zip(measured, base, strict=True)) for base in bases]
                shown = (f"{statistics.median(measured):.3f}", *(f"{ratio:.2f}" for ratio in ratios))
                table.add_row(strategy, str(batch_size), name, *shown)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

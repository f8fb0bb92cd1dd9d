"""What the training loop costs: mmcl against a bare PyTorch loop and Avalanche's own, same features and head.

The second of two experiences of spoken digits (FSDD in MMCL_DATA, whisper-base in MMCL_WEIGHTS): frozen features from
the cache, a memory of the first experience, a head of one hidden layer. The loops are timed in turn, several times
over; what is printed is the median of the ratios to the bare loop beside it.

    python tests/benchmarks/loop_overhead.py
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from mmcl.data import open_dataset
from mmcl.encoders import Encoder, build_encoder, cached_features
from mmcl.encoders.feature_dataset import FeatureDataset

warnings.simplefilter("ignore")

DIM, HIDDEN, CLASSES = 1024, 256, 10


def whisper() -> Encoder:
    return build_encoder("audio", "openai/whisper-base", pooling="mean_max")


def in_memory(data: FeatureDataset) -> tuple[torch.Tensor, torch.Tensor]:
    batch = data.batch(torch.arange(len(data)))
    return batch["features"], batch["label"]


def head() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES))


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)


def bare(data: FeatureDataset, memory: int, epochs: int, batch_size: int) -> Callable[[], None]:
    """As one would write it by hand."""
    model = head()
    optimizer, loss_of = optimizer_of(model), nn.CrossEntropyLoss()
    features, labels = in_memory(data)
    old, new = (torch.nonzero(labels // 5 == half).flatten() for half in (0, 1))
    rows = torch.cat([new, old[torch.randperm(len(old))[:memory]]])

    def run() -> None:
        for _ in range(epochs):
            total = 0.0
            for chosen in rows[torch.randperm(len(rows))].split(batch_size):
                optimizer.zero_grad()
                loss = loss_of(model(features[chosen]), labels[chosen])
                loss.backward()
                optimizer.step()
                total += loss.item()

    return run


def ours(data: FeatureDataset, memory: int, epochs: int, batch_size: int) -> Callable[[], None]:
    from mmcl.data import class_incremental
    from mmcl.models import SLUClassifier
    from mmcl.strategies import replay

    benchmark = class_incremental(data, data, experiences=2, class_order=list(range(CLASSES)))
    model = SLUClassifier(whisper(), hidden=HIDDEN)
    strategy = replay(model, optimizer_of(model), memory_size=memory, epochs=1, batch_size=batch_size)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    strategy.train_epochs = epochs
    return lambda: strategy.train(benchmark.train_stream[1], eval_streams=[])


def avalanche(data: FeatureDataset, memory: int, epochs: int, batch_size: int, evaluator: bool) -> Callable[[], None]:
    from avalanche.benchmarks import class_incremental_benchmark
    from avalanche.benchmarks.utils import as_classification_dataset
    from avalanche.evaluation.metrics import accuracy_metrics, loss_metrics
    from avalanche.training import Naive
    from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin
    from torch.utils.data import TensorDataset

    source = TensorDataset(*in_memory(data))
    source.targets = data.labels
    sets = {name: as_classification_dataset(source) for name in ("train", "test")}
    benchmark = class_incremental_benchmark(sets, num_experiences=2, class_order=list(range(CLASSES)))
    model = head()
    metrics = [accuracy_metrics(minibatch=True, epoch=True), loss_metrics(minibatch=True, epoch=True)]
    strategy = Naive(
        model=model,
        optimizer=optimizer_of(model),
        train_mb_size=batch_size,
        train_epochs=1,
        plugins=[ReplayPlugin(mem_size=memory, batch_size=batch_size // 2, batch_size_mem=batch_size // 2)],
        evaluator=EvaluationPlugin(*(metrics if evaluator else []), loggers=[]),
    )
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    strategy.train_epochs = epochs
    return lambda: strategy.train(benchmark.train_stream[1], eval_streams=[])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15, help="how often each loop is timed")
    parser.add_argument("--epochs", type=int, default=10, help="epochs each time")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--memory", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = cached_features(open_dataset("fsdd", "train"), whisper())
    sizes = (arguments.memory, arguments.epochs, arguments.batch_size)
    loops = {
        "bare PyTorch": bare(data, *sizes),
        "mmcl": ours(data, *sizes),
        "Avalanche, no metrics": avalanche(data, *sizes, evaluator=False),
        "Avalanche, accuracy and loss": avalanche(data, *sizes, evaluator=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(arguments.repeats):
        for name, loop in loops.items():
            started = time.process_time()  # of this process alone: the machine may be shared
            loop()
            seconds[name].append(time.process_time() - started)
    table = Table("loop", "seconds (median)", "times the bare loop (median)")
    for name, measured in seconds.items():
        ratios = [one / other for one, other in zip(measured, seconds["bare PyTorch"], strict=True)]
        table.add_row(name, f"{statistics.median(measured):.3f}", f"{statistics.median(ratios):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

"""Strategies against Avalanche's on the same features, stream, model and memory: accuracy in the end, and time.

Needs barista and fsdd in MMCL_DATA, and Whisper-base in MMCL_WEIGHTS. Features, class order, optimizer, epochs, batch
size, memory size and the settings of strategies are those of the configs barista and fsdd. Both sides start from the
same weights: a hidden layer on standardized features, and a head with a column for every class. Memories are balanced
by class. Time is that of training on the whole stream, in CPU seconds of one thread.

What still differs:

* mmcl shuffles the memory into the batches. Avalanche adds as many samples from the memory to each batch of new ones,
  as in the papers of ER-ACE and DER. For replay, "Avalanche, same share" has new samples and memory in one batch size,
  in the shares that they have in mmcl.
* The losses of ER-ACE and DER++ are one mean over a mixed batch in mmcl, and sums of means in Avalanche.
* EWC measures the Fisher information of each sample alone in mmcl, and of the mean gradient of a batch in Avalanche.
  Avalanche has half the weight, because it lacks the factor 1/2 of the paper.
* The covariance of streaming LDA is exact in mmcl, and a running estimate in Avalanche. mmcl scales its identity by the
  mean variance. Avalanche has each experience as one batch, because it inverts a matrix for each batch.

    python tests/benchmarks/avalanche_peers.py
    python tests/benchmarks/avalanche_peers.py --data fsdd --seeds 1 --strategies replay slda
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mmcl import strategies
from mmcl.batch import Batch
from mmcl.config.model import load_config
from mmcl.config.tasks import find_config, load_task
from mmcl.data import class_incremental
from mmcl.data.avalanche_streams import rows_of
from mmcl.encoders import Encoder, cached_features
from mmcl.encoders.feature_dataset import FeatureDataset
from mmcl.models import SLUClassifier
from mmcl.reports.results import MeanStd
from mmcl.seeding import seed_everything
from mmcl.strategies.template import MMCLTemplate

NAMES = ("replay", "er_ace", "der_pp", "ewc", "slda")
WITH_MEMORY = ("replay", "er_ace", "der_pp")
Side = tuple[Any, Any, Callable[[Tensor], Tensor]]  # strategy, its stream, and function from features to scores


class Course(NamedTuple):
    """What is the same on both sides; ``model`` has not been trained."""

    name: str
    config: Any
    benchmark: Any
    model: SLUClassifier

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the method, without those of the loop and the memory."""
        config = self.config
        sections = {"er_ace": config.rehearsal.er_ace, "der_pp": config.rehearsal.der_pp}
        sections |= {"ewc": config.regularization.ewc, "slda": config.readout.slda}
        return sections[self.name].model_dump() if self.name in sections else {}

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer of the config."""
        section, trained = self.config.optimizer, [each for each in model.parameters() if each.requires_grad]
        return torch.optim.AdamW(trained, lr=section.learning_rate, weight_decay=section.weight_decay, fused=True)


def course(name: str, config: Any, data: list[FeatureDataset], encoder: Encoder, seed: int) -> Course:
    """Make the stream and the model of a seed."""
    benchmark = class_incremental(*data, config.experiences, seed=seed)
    seed_everything(seed)
    model = SLUClassifier(encoder, hidden=None if name == "slda" else config.classifier.hidden)
    model.standardize(data[0].vectors(rows_of(benchmark.train_stream[0])))
    model.grow(range(len(data[0].classes)))
    return Course(name, config, benchmark, model)


def ours(course: Course) -> Side:
    """Build mmcl's strategy."""
    settings = {"batch_size": course.config.batch_size, **course.settings}
    if course.name in WITH_MEMORY:
        settings["memory_size"] = course.config.memory_size
    if course.name != "slda":
        settings["epochs"] = course.config.epochs
    strategy = getattr(strategies, course.name)(course.model, course.optimizer(course.model), **settings)
    return (
        strategy,
        course.benchmark.train_stream,
        lambda features: course.model.eval()(Batch(features=features)).logits,
    )


def avalanches(course: Course, *, same_share: bool = False) -> Side:
    """Build Avalanche's strategy.

    Args:
        course: what is the same on both sides.
        same_share: give the memory its share of a batch, in place of a batch of its own.
    """
    from avalanche.benchmarks import nc_benchmark

    model, source, order = (
        course.model,
        course.benchmark.train_stream[0].source,
        course.benchmark.description["class_order"],
    )
    features, labels = source.vectors(range(len(source))), torch.tensor(source.labels)
    standardized: Any = TensorDataset(torch.addcmul(model.offset, features, model.gain), labels)
    standardized.targets = source.labels
    split = {"n_experiences": course.config.experiences, "task_labels": False, "fixed_class_order": order}
    stream = nc_benchmark(standardized, standardized, **split).train_stream
    network: nn.Module = nn.Identity()
    if course.name != "slda":
        head = nn.Linear(model.head.weight.shape[1], len(model.head.weight))
        head.load_state_dict({"weight": model.head.weight, "bias": model.head.bias})
        network = nn.Sequential(model.trunk, head)
    samples, memory = len(source) / course.config.experiences, course.config.memory_size
    new = with_memory = course.config.batch_size
    if same_share:
        with_memory = round(course.config.batch_size * memory / (samples + memory))
        new = course.config.batch_size - with_memory
    strategy = _avalanches(course, network, new, with_memory, len(model.gain))
    scores = strategy.predict if course.name == "slda" else network
    return strategy, stream, lambda features: scores(torch.addcmul(model.offset, features, model.gain))


def _avalanches(course: Course, network: nn.Module, batch_size: int, with_memory: int, dim: int) -> Any:
    from avalanche.training import DER, ER_ACE, Naive, StreamingLDA
    from avalanche.training.plugins import EWCPlugin, ReplayPlugin
    from avalanche.training.storage_policy import ClassBalancedBuffer

    loop = {"train_mb_size": batch_size, "train_epochs": course.config.epochs, "evaluator": None}
    if course.name == "slda":
        shrinkage, classes = course.settings["shrinkage"], len(course.model.head.weight)
        lda = {"slda_model": network, "criterion": nn.CrossEntropyLoss(), "input_size": dim, "num_classes": classes}
        return StreamingLDA(**lda, shrinkage_param=shrinkage, train_mb_size=10**6, evaluator=None)
    loop |= {"model": network, "optimizer": course.optimizer(network)}
    memory = {"mem_size": course.config.memory_size, "batch_size_mem": with_memory}
    if course.name == "er_ace":
        return ER_ACE(**loop, **memory)
    if course.name == "der_pp":
        return DER(**loop, **memory, **course.settings)
    if course.name == "ewc":
        return Naive(**loop, plugins=[EWCPlugin(course.settings["weight"] / 2)])
    buffer = ClassBalancedBuffer(course.config.memory_size)
    return Naive(**loop, plugins=[ReplayPlugin(**memory, batch_size=batch_size, storage_policy=buffer)])


def sides_of(name: str) -> dict[str, Callable[[Course], Side]]:
    """Return the implementations of a strategy by name."""
    sides: dict[str, Callable[[Course], Side]] = {"mmcl": ours, "Avalanche": avalanches}
    if name == "replay":
        sides["Avalanche, same share"] = lambda course: avalanches(course, same_share=True)
    return sides


def measure(side: Side, test: FeatureDataset) -> tuple[float, float]:
    """Train on a stream, and return the accuracy in the end in per cent and the CPU seconds of training."""
    strategy, stream, scores = side
    started = time.process_time()
    for experience in stream:  # both reset the optimizer in each experience, which is an option in Avalanche
        reset = {} if isinstance(strategy, MMCLTemplate) else {"reset_optimizer_state": True}
        strategy.train(experience, eval_streams=[], **reset)
    seconds = time.process_time() - started
    with torch.no_grad():
        predicted = scores(test.vectors(range(len(test)))).argmax(1)
    return 100 * float((predicted == torch.tensor(test.labels)).double().mean()), seconds


def compare(name: str, arguments: argparse.Namespace, table: Table, advance: Callable[[str], None]) -> None:
    """Measure the strategies on one data set, and add their rows to a table; the sides take turns.

    Args:
        name: name of the config.
        arguments: arguments of the command line.
        table: table of results.
        advance: called before each training, with its description.
    """
    task: Any = load_task("slu_incremental")
    config = load_config(task.Config, find_config("slu_incremental", name), arguments.settings)
    encoder = config.encoder.build()
    data = [cached_features(split, encoder) for split in config.data.build()]
    for strategy in arguments.strategies:
        found: dict[str, list[tuple[float, float]]] = {side: [] for side in sides_of(strategy)}
        for seed in range(arguments.seeds):
            for side, build in sides_of(strategy).items():
                advance(f"{name}, {strategy}, {side}, seed {seed}")
                found[side].append(measure(build(course(strategy, config, data, encoder, seed)), data[1]))
        base = statistics.fmean(seconds for _, seconds in found["mmcl"])
        for side, measured in found.items():
            accuracy = MeanStd.of(accuracy for accuracy, _ in measured)
            seconds = statistics.fmean(seconds for _, seconds in measured)
            shown = accuracy.text(1) if accuracy else ""
            table.add_row(name, strategy, side, f"{shown} %", f"{seconds:.2f}", f"{seconds / base:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["barista", "fsdd"], help="configs of slu_incremental")
    parser.add_argument("--strategies", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0 (default: 5)")
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the configs")
    arguments = parser.parse_args()
    warnings.showwarning = lambda *_, **__: None  # Avalanche overrides filters of its own deprecation warnings
    torch.set_num_threads(1)
    table = Table("data", "strategy", "implementation", "last accuracy", "CPU seconds", "times mmcl's")
    each = sum(len(sides_of(name)) for name in arguments.strategies)
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(arguments.data) * arguments.seeds * each, completed=-1)

        def advance(description: str) -> None:
            progress.update(bar, description=description, advance=1)

        try:
            for name in arguments.data:
                compare(name, arguments, table, advance)
        finally:  # also after Ctrl+C
            Console(width=120).print(table)


if __name__ == "__main__":
    main()

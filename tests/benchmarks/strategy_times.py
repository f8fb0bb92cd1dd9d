"""CPU seconds of every strategy on one stream, beside those of replay: training, without checkpoints and evaluation.

Needs barista in MMCL_DATA, and Whisper-base in MMCL_WEIGHTS. Strategies are built as the task builds them, in one
thread. ``--settings`` changes the config.

    python tests/benchmarks/strategy_times.py
    python tests/benchmarks/strategy_times.py --config fsdd --settings strategy=[replay,ewc] epochs=5
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mmcl import strategies
from mmcl.config.model import load_config
from mmcl.config.tasks import find_config, load_task
from mmcl.data import class_incremental
from mmcl.encoders import cached_features
from mmcl.sections import slu as sections
from mmcl.sections.incremental import strategy_settings
from mmcl.seeding import seed_everything


def seconds_of(name: str, config: Any, data: list[Any], encoder: Any) -> float:
    """Train a strategy on the stream of seed 0, and return its CPU seconds."""
    benchmark = class_incremental(*data, seed=0, **sections.stream_settings(config, name))
    seed_everything(0)
    model = sections.build_model(config, name, encoder, None)
    model.standardize(data[0].vectors(benchmark.train_stream[0].dataset.rows[:]))
    own = strategy_settings(config, name, len(data[0])) | config.readout.argument(name)
    own |= {"batch_size": config.batch_size, "columns": config.columns}
    strategy = getattr(strategies, name)(model, config.optimizer.build(model, encoder), **own)
    started = time.process_time()
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="barista", help="config of slu_incremental (default: barista)")
    parser.add_argument("--settings", nargs="*", default=["strategy=all"], metavar="KEY=VALUE", help="settings of it")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task: Any = load_task("slu_incremental")
    config = load_config(task.Config, find_config("slu_incremental", arguments.config), arguments.settings)
    encoder = config.encoder.build()
    data = [cached_features(split, encoder) for split in config.data.build()]
    names = [name for name in config.strategy if name != "offline"]  # another stream
    console = Console(stderr=True)
    found = {name: seconds_of(name, config, data, encoder) for name in track(names, console=console)}
    table = Table("strategy", "CPU seconds", "times replay")
    for name, seconds in found.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / found['replay']:.2f}" if "replay" in found else "")
    Console().print(table)


if __name__ == "__main__":
    main()

"""What a run costs in time, memory and disk, and how that grows: for the planning page of the README.

Costs of a second of speech and of a sample are measured on real recordings (barista and fsdd in MMCL_DATA, whisper-base
and MiniLM in MMCL_WEIGHTS), each in a fresh process, then multiplied to corpora of the size of SLURP and LibriSpeech.
For growth, the features of spoken digits stand in over and over, with as many labels as there are to be classes. The
tables go to the terminal, the plots and all numbers to a folder.

    python tests/benchmarks/planning.py --out runs/planning
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table


class Corpus(NamedTuple):
    recordings: int
    hours: float


CORPORA = {"SLURP": Corpus(72_000, 58.0), "LibriSpeech": Corpus(281_000, 961.0)}
USUAL = {"classes": 50, "batch": 32, "memory": 0, "samples": 4096, "strategy": "naive"}
GROWTH = {
    "classes": [10, 100, 1000, 10_000],
    "batch": [8, 32, 128, 512, 2048],
    "memory": [0, 1000, 4000, 16_000],
    "samples": [4096, 16_384, 65_536, 262_144],
}
PAIRS, TUNED = [64, 256, 1024], [1, 4, 16]


# --- what is measured, each in a process of its own ---


def encode(keep: str, precision: str, recordings: int) -> dict[str, float]:
    """Encode real orders by Whisper-base into an empty folder."""
    from mmcl.data import Selection, open_dataset
    from mmcl.encoders import build_encoder, cached_features

    orders = open_dataset("barista", "train")
    chosen = Selection(orders, range(recordings))
    spoken = seconds_of(orders, range(recordings))
    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    with tempfile.TemporaryDirectory() as folder:
        cached_features(Selection(orders, [recordings]), encoder, folder, progress=False)  # what is made once
        before, started = bytes_of(folder), time.perf_counter()
        cached_features(chosen, encoder, folder, keep=keep, precision=precision, progress=False)  # type: ignore[arg-type]
        seconds, size = time.perf_counter() - started, bytes_of(folder) - before
    each = 1 if keep == "pooled" else spoken / recordings
    return {"seconds": seconds / spoken, "bytes": size / recordings / each}


def classify(classes: int, batch: int, memory: int, samples: int, strategy: str) -> dict[str, float]:
    """Train a classifier on frozen features of spoken digits, which are repeated until there are as many as are wanted.
    What it costs is that of each new sample, in the second of two experiences, what is rehearsed beside it included."""
    import torch

    from mmcl import strategies
    from mmcl.data import class_incremental, open_dataset
    from mmcl.encoders import build_encoder, cached_features
    from mmcl.encoders.feature_dataset import FeatureDataset
    from mmcl.encoders.feature_store import FeatureSpan
    from mmcl.models import SLUClassifier

    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    digits = cached_features(open_dataset("fsdd", "train"), encoder, progress=False)
    matrix, half = digits.vectors(range(len(digits))), classes // 2
    first, second = max(samples, memory, half), max(samples, half)
    labels = [row % half for row in range(first)] + [half + row % half for row in range(second)]
    total = len(labels)
    texts = [f"a digit, and what else one says before or after it {row}" for row in range(total)]  # each of its own
    given = SimpleNamespace(classes=[str(label) for label in range(classes)], labels=labels, texts=texts)
    entries = [FeatureSpan(row % len(matrix), 1, 0) for row in range(total)]
    data = FeatureDataset(given, [str(row) for row in range(total)], matrix, entries, pooled=True)
    stream = class_incremental(data, data, experiences=2, class_order=list(range(classes))).train_stream
    words = {"text_encoder": build_encoder("text", "words")} if strategy == "coconut" else {}
    model = SLUClassifier(encoder, **words)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 1e-3, fused=True)
    settings: dict[str, Any] = {"memory_size": memory} if memory else {}
    loop = getattr(strategies, strategy)(model, optimizer, batch_size=batch, **settings)
    loop.train(stream[0], eval_streams=[])
    seconds = median_of(lambda: loop.train(stream[1], eval_streams=[]), 3 if samples <= 16_384 else 1)
    return {"seconds": seconds / len(stream[1].dataset)}


def tune(batch: int) -> dict[str, float]:
    """Train the upper half of Whisper-base on real orders, on what its lower half makes of them."""
    import torch

    from mmcl.data import Selection, class_incremental, open_dataset
    from mmcl.encoders import build_encoder, cached_features
    from mmcl.models import SLUClassifier
    from mmcl.strategies import naive

    orders = open_dataset("barista", "train")
    rows = [orders.labels.index(label) for label in range(len(orders.classes))]
    rows += [row for row in range(len(orders)) if row not in rows][: 32 - len(rows)]
    encoder = build_encoder("audio", "openai/whisper-base", tune_from=3)
    data = cached_features(Selection(orders, rows), encoder, progress=False, precision="bf16-mixed")
    model = SLUClassifier(encoder)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 1e-5, fused=True)
    (experience,) = class_incremental(data, data, experiences=1).train_stream
    loop = naive(model, optimizer, batch_size=batch)
    spoken = seconds_of(orders, rows)
    return {"seconds": median_of(lambda: loop.train(experience, eval_streams=[])) / spoken}


def write(test: bool = False) -> dict[str, float]:
    """Train a model that writes, of the size of configs/slu_incremental/barista_seq2seq.yaml, or have it write."""
    import torch

    from mmcl.data import class_incremental, open_dataset
    from mmcl.encoders import build_encoder, cached_features
    from mmcl.sections.slu import Seq2SeqSection
    from mmcl.strategies import naive

    orders = open_dataset("barista", "train", words="slots")
    encoder = build_encoder("audio", "openai/whisper-base", subsampling=8)
    data = cached_features(orders, encoder, keep="sequence", progress=False, precision="bf16-mixed")
    sizes = {"dim": 128, "layers": 2, "heads": 4, "feedforward": 256, "vocabulary": 200, "max_tokens": 60, "beams": 5}
    section = Seq2SeqSection(summary=True, **sizes)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        model = section.build(encoder, section.tokenizer(data, Path(folder) / "tokenizer.json"))
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 2e-3, fused=True)
    stream = class_incremental(data, data, experiences=1)
    (experience,) = stream.train_stream
    loop = naive(model, optimizer, batch_size=16, eval_batch_size=64, epochs=20 if test else 1)
    loop.train(experience, eval_streams=[])  # what has learnt nothing writes without an end
    if test:
        return {"seconds": median_of(lambda: loop.eval(stream.test_stream)) / len(data)}
    return {"seconds": median_of(lambda: loop.train(experience, eval_streams=[])) / seconds_of(orders)}


def pair(batch: int) -> dict[str, float]:
    """Train the head of a hearing tower beside locked sentences, as configs/speech_to_intent/demo.yaml does."""
    import torch

    from mmcl.data import PairedDataset, open_dataset
    from mmcl.encoders import build_encoder, cached_features
    from mmcl.models import TwoTower
    from mmcl.models.heads import HeadOptions
    from mmcl.objectives import CLIPLoss
    from mmcl.training.contrastive import ContrastiveTrainer

    digits = open_dataset("fsdd", "train")
    speech = build_encoder("audio", "openai/whisper-base", subsampling=4)
    text = build_encoder("text", "sentence-transformers/all-MiniLM-L6-v2")
    sides = (
        cached_features(digits, each, keep=keep, progress=False)
        for each, keep in ((speech, "sequence"), (text, "auto"))
    )
    model = TwoTower(speech, text, first_head=HeadOptions("attention"), second_head="none")
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], 1e-3)
    settings: dict[str, Any] = {"batch_size": batch, "distinct_texts": False}
    trainer = ContrastiveTrainer(model, PairedDataset(*sides), CLIPLoss(0.05), optimizer, epochs=4, **settings)
    epochs = iter(trainer)
    next(epochs)
    seconds = median_of(lambda: next(epochs))
    spoken = seconds_of(digits)
    return {"seconds": seconds / spoken}


def seconds_of(data: Any, rows: Iterable[int] | None = None) -> float:
    """How long the recordings are together."""
    from mmcl.data.audio import audio_seconds

    return sum(audio_seconds(data.utterances[row].path) for row in (range(len(data)) if rows is None else rows))


def median_of(run: Callable[[], Any], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def bytes_of(folder: str) -> int:
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


MEASURES: dict[str, Callable[..., dict[str, float]]] = {
    "encode": encode,
    "classify": classify,
    "tune": tune,
    "write": write,
    "pair": pair,
}


def measure(name: str, settings: dict[str, Any], threads: int) -> dict[str, float]:
    """Measure in this process; ``mebibytes`` is the most that all of it had in memory."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    found = MEASURES[name](**settings)
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    return found | {"mebibytes": int(peak[1]) / 1024}


def ask(name: str, threads: int, **settings: Any) -> dict[str, float]:
    """The same in a fresh process."""
    given = json.dumps({"name": name, "settings": settings, "threads": threads})
    command = [sys.executable, "-W", "ignore", __file__, "--measure", given]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- what is made of it ---


def collect(threads: int, recordings: int) -> dict[str, Any]:
    """Ask for everything, with a bar."""
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        f"encode {keep} {precision}": ("encode", {"keep": keep, "precision": precision, "recordings": recordings})
        for keep in ("pooled", "sequence")
        for precision in ("32", "bf16-mixed")
    }
    asked["write"] = "write", {}
    asked["test of a model that writes"] = "write", {"test": True}
    for strategy in ("naive", "replay", "lwf", "icarl", "coconut"):
        memory = {"memory": 1000} if strategy in ("replay", "icarl", "coconut") else {}
        asked[f"classify {strategy}"] = "classify", USUAL | {"strategy": strategy} | memory
    for name, values in GROWTH.items():
        for value in values:
            more = {name: value} | ({"strategy": "replay"} if name == "memory" and value else {})
            asked[f"{name} {value}"] = "classify", USUAL | more
    for batch in TUNED:
        asked[f"tuned {batch}"] = "tune", {"batch": batch}
    for batch in PAIRS:
        asked[f"pairs {batch}"] = "pair", {"batch": batch}
    found = {}
    for key, (name, settings) in track(asked.items(), "measuring", console=Console(stderr=True)):
        found[key] = ask(name, threads, **settings)
    return found


def tables(found: dict[str, Any]) -> list[Table]:
    """Costs of one, of corpora, and of strategies."""
    one = Table("of a second of speech", "ms", "bytes on disk", "MiB in memory")
    for key in [key for key in found if key.split()[0] in ("encode", "tuned", "write", "pairs")]:
        cost = found[key]
        size = f"{cost['bytes']:,.0f}" + (" a recording" if "pooled" in key else "") if "bytes" in cost else ""
        one.add_row(key, f"{1000 * cost['seconds']:.2f}", size, f"{cost['mebibytes']:,.0f}")
    all_ = Table(
        "of a corpus", *(f"{name}: {size.recordings:,} recordings, {size.hours:g} h" for name, size in CORPORA.items())
    )
    hours = {
        "encoding": "encode sequence 32",
        "encoding in bf16-mixed": "encode sequence bf16-mixed",
        "an epoch of Whisper-base's upper half, 16 recordings a step": "tuned 16",
        "an epoch of a model that writes": "write",
        "an epoch of pairs, 256 a step": "pairs 256",
    }
    for name, key in hours.items():
        all_.add_row(name, *(lasting(3600 * corpus.hours * found[key]["seconds"]) for corpus in CORPORA.values()))
    seconds, pooled, steps = (found[key] for key in ("classify naive", "encode pooled 32", "encode sequence 32"))
    many, few = (found[f"samples {count}"]["mebibytes"] for count in (262_144, 4096))
    writing = found["test of a model that writes"]["seconds"]
    rows = {
        "a test of a model that writes, 5 beams": lambda corpus: lasting(corpus.recordings * writing),
        "an epoch of a classifier, pooled features": lambda corpus: lasting(corpus.recordings * seconds["seconds"]),
        "pooled features on disk": lambda corpus: f"{corpus.recordings * pooled['bytes'] / 1e9:.1f} GB",
        "steps on disk, 50 a second": lambda corpus: f"{3600 * corpus.hours * steps['bytes'] / 1e9:,.0f} GB",
        "memory for labels, texts and places": lambda corpus: (
            f"{corpus.recordings * (many - few) / (2 * (262_144 - 4096)):.0f} MiB"
        ),
    }
    for name, of in rows.items():
        all_.add_row(name, *map(of, CORPORA.values()))
    each = Table("strategy", "microseconds a new sample", "times naive", "MiB in memory")
    for key in [key for key in found if key.startswith("classify")]:
        ratio = found[key]["seconds"] / seconds["seconds"]
        each.add_row(
            key.split()[1], f"{1e6 * found[key]['seconds']:.0f}", f"{ratio:.2f}", f"{found[key]['mebibytes']:,.0f}"
        )
    return [one, all_, each]


def lasting(seconds: float) -> str:
    """Seconds in the unit that one would say them in."""
    unit, size = next(((unit, size) for unit, size in (("h", 3600), ("min", 60)) if seconds >= size), ("s", 1))
    return f"{seconds / size:.1f} {unit}"


def draw_growth(found: dict[str, Any], path: Path) -> None:
    """Draw how time and memory grow."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from mmcl.reports.drawing import GRID, plain_axes

    drawn = {
        "classes": ("classes", GROWTH["classes"], "log"),
        "batch": ("samples a step", GROWTH["batch"], "log"),
        "memory": ("samples in memory", GROWTH["memory"], "linear"),
        "samples": ("new samples", GROWTH["samples"], "log"),
        "tuned": ("recordings a step,\nencoder trained", TUNED, "linear"),
        "pairs": ("pairs that are compared", PAIRS, "log"),
    }
    figure = Figure(figsize=(15, 5.2), layout=ConstrainedLayoutEngine(w_pad=0.12))
    rows = figure.subplots(2, len(drawn), sharex="col")
    for (times, sizes), (name, (label, values, scale)) in zip(rows.T, drawn.items(), strict=True):
        costs = [found[f"{name} {value}"] for value in values]
        speech = name in ("tuned", "pairs")
        times.plot(values, [1000 * cost["seconds"] * (1 if speech else 1000) for cost in costs], "o-", color="#0072b2")
        sizes.plot(values, [cost["mebibytes"] for cost in costs], "o-", color="#0072b2")
        times.set_ylabel("ms for a second of speech" if speech else "ms for 1,000 new samples")
        sizes.set(xscale=scale, xlabel=label, ylabel="MiB, all of the process")
        sizes.set_xticks(values, [f"{value:,}" if value != 1000 or name != "memory" else "" for value in values])
        sizes.minorticks_off()
        for axes in (times, sizes):
            axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
            axes.grid(axis="y", color=GRID)
            plain_axes(axes)
            axes.tick_params(labelsize=8)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "growth"}):
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/planning"), help="folder (default: runs/planning)")
    parser.add_argument("--recordings", type=int, default=64, help="that are encoded (default: 64)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--draw", action="store_true", help="draw what is in the folder already, and measure nothing")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(**json.loads(arguments.measure))))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "costs.json"
    if not arguments.draw:
        path.write_text(json.dumps(collect(arguments.threads, arguments.recordings), indent=1))
    found = json.loads(path.read_text())
    for table in tables(found):
        Console().print(table)
    draw_growth(found, arguments.out / "growth.svg")
    print(f"{arguments.out}: costs.json, growth.svg")


if __name__ == "__main__":
    main()

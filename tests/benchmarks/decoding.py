"""What batches save in beam search: utterances decoded together against one by one.

Trains a small sequence-to-sequence model for some hundred steps on cached features of Whisper-base (barista in
MMCL_DATA, whisper-base in MMCL_WEIGHTS), so that what it writes has an end, and decodes utterances in batches, longest
first, and one by one, in turns. Seconds are medians of the rounds.

    python tests/benchmarks/decoding.py --batch-sizes 25 --threads 1
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import statistics
import tempfile
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.functional import cross_entropy

from mmcl.data import open_dataset
from mmcl.encoders import build_encoder, cached_features
from mmcl.models import Frame, FrameTokenizer, SLUSeq2Seq
from mmcl.seeding import seed_everything


def trained(count: int, steps: int, folder: str | None) -> tuple[SLUSeq2Seq, list[torch.Tensor], list[torch.Tensor]]:
    """A model, and the features and lengths of each of ``count`` utterances, the longest first."""
    seed_everything(0)
    encoder = build_encoder("audio", "openai/whisper-base", subsampling=8)
    orders = open_dataset("barista", "train", words="slots")
    orders.utterances = orders.utterances[:: max(1, len(orders) // count)][:count]  # of all classes
    kept = [utterance.label for utterance in orders.utterances]
    orders.labels, orders.texts = kept, [utterance.text for utterance in orders.utterances]
    orders.entities = [utterance.entities for utterance in orders.utterances]
    data = cached_features(orders, encoder, folder, keep="sequence")
    rows = zip(data.labels, data.entities, data.texts, strict=True)
    frames = [Frame(data.classes[label], entities, text) for label, entities, text in rows]
    tokenizer = FrameTokenizer.train(frames, data.classes, vocabulary=300)
    model = SLUSeq2Seq(
        encoder,
        tokenizer,
        dim=128,
        layers=2,
        heads=4,
        feedforward=256,
        summary=True,
        max_tokens=60,
    )
    everything = data.batch(torch.arange(count))
    model.standardize(everything["features"][everything.mask("features")])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(steps):
        output = model(data.batch(torch.randperm(count)[:32]))
        loss = cross_entropy(output.logits.flatten(0, 1), output.targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    order = everything["features_lengths"].argsort(descending=True)
    samples = [data.batch(order[[place]]) for place in range(count)]
    return model.eval(), [s["features"][0] for s in samples], [s["features_lengths"] for s in samples]


@torch.no_grad()
def decode(
    model: SLUSeq2Seq, features: Sequence[torch.Tensor], lengths: Sequence[torch.Tensor], size: int, beams: int
) -> tuple[float, list[list[int]]]:
    """Seconds to encode and decode all, ``size`` at a time, and what was written."""
    started = time.perf_counter()
    written = []
    for start in range(0, len(features), size):
        part = slice(start, start + size)
        steps = torch.nn.utils.rnn.pad_sequence(list(features[part]), batch_first=True)
        batch = {"features": steps, "features_lengths": torch.cat(list(lengths[part]))}
        written += model.decode(model.encode(batch), beams=beams)
    return time.perf_counter() - started, written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--steps", type=int, default=400, help="steps of training before (default: 400)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the median counts (default: 3)")
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5, 20], help="widths of the search")
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[25], help="utterances decoded together")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    parser.add_argument("--cache", help="folder of features (default: a new one, deleted at the end)")
    parser.add_argument("--profile", action="store_true", help="show where time goes at the widest beam")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        model, *data = trained(arguments.utterances, arguments.steps, arguments.cache or folder)
        tokens = [len(row) for row in decode(model, *data, arguments.batch_sizes[0], 1)[1]]
        table = Table("beams", "utterances at a time", "seconds", "one by one", "ratio", "written alike")
        for beams in arguments.beams:
            seconds: dict[int, list[float]] = {size: [] for size in (1, *arguments.batch_sizes)}
            written = {}
            for _ in range(arguments.rounds):
                for size, taken in seconds.items():
                    value, written[size] = decode(model, *data, size, beams)
                    taken.append(value)
            alone = statistics.median(seconds[1])
            for size in arguments.batch_sizes:
                together = statistics.median(seconds[size])
                alike = sum(one == other for one, other in zip(written[1], written[size], strict=True))
                row = (beams, size, f"{together:.2f}", f"{alone:.2f}", f"{alone / together:.1f}", alike)
                table.add_row(*map(str, row))
        Console().print(table)
        print(
            f"{arguments.utterances} utterances, {arguments.threads} threads; greedy writes "
            f"{statistics.mean(tokens):.1f} tokens on average, {max(tokens)} at most"
        )
        if arguments.profile:
            for size in (1, arguments.batch_sizes[0]):
                profile = cProfile.Profile()
                profile.runcall(decode, model, *data, size, max(arguments.beams))
                print(f"\n{size} at a time, {max(arguments.beams)} beams:")
                pstats.Stats(profile).sort_stats("tottime").print_stats(18)


if __name__ == "__main__":
    main()

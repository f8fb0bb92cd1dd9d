"""What caching frozen features saves: the first epoch, which encodes, against the second, which reads.

Trains the head of a classifier on frozen Whisper-base (barista in MMCL_DATA, whisper-base in MMCL_WEIGHTS) for an epoch
with an empty cache, then for one more with the cache that the first has filled, opened anew.

    python tests/benchmarks/feature_cache.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings

import torch
from rich.console import Console
from rich.table import Table

from mmcl.data import class_incremental, open_dataset
from mmcl.encoders import Encoder, build_encoder, cached_features
from mmcl.models import SLUClassifier
from mmcl.strategies import naive

warnings.simplefilter("ignore")


def epoch(split: str, encoder: Encoder, folder: str) -> tuple[float, float, int]:
    """Seconds for features and for one epoch of the head, and the number of recordings."""
    started = time.perf_counter()
    data = cached_features(open_dataset("barista", split), encoder, folder)
    encoded = time.perf_counter()
    stream = class_incremental(data, data, experiences=1).train_stream
    model = SLUClassifier(encoder)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    strategy = naive(model, optimizer, epochs=1)
    begun = time.perf_counter()
    strategy.train(stream[0], eval_streams=[])
    return encoded - started, time.perf_counter() - begun, len(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="valid", help="train, valid or test (default: valid)")
    arguments = parser.parse_args()
    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    table = Table("epoch", "features (s)", "head (s)", "together (s)")
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second"):
            features, head, count = epoch(arguments.split, encoder, folder)
            seconds.append(features + head)
            table.add_row(name, f"{features:.3f}", f"{head:.3f}", f"{seconds[-1]:.3f}")
    Console().print(table)
    print(f"{count} recordings; the second epoch is {seconds[0] / seconds[1]:.0f} times faster than the first")


if __name__ == "__main__":
    main()

"""Streaming LDA against Avalanche's, on the same features and the same stream: accuracy in the end, and time.

Needs barista and fsdd in MMCL_DATA, and Whisper-base in MMCL_WEIGHTS. The features are those of the configs barista and
fsdd, standardized on the first experience. Both get the same shrinkage.

    python tests/benchmarks/streaming_lda.py
"""

from __future__ import annotations

import argparse
import time
import warnings

import torch
from avalanche.training.supervised import StreamingLDA as AvalancheSLDA
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from mmcl.data import class_incremental, open_dataset
from mmcl.encoders import build_encoder, cached_features
from mmcl.encoders.standardize import standardization
from mmcl.models.readouts import StreamingLDA

Experiences = list[tuple[Tensor, Tensor]]


def ours(experiences: Experiences, shrinkage: float, classes: int) -> nn.Module:
    """Fit mmcl's read-out, and solve it after each experience."""
    readout = StreamingLDA(shrinkage=shrinkage)
    for embeddings, labels in experiences:
        readout.grow(labels.tolist())
        readout.add(embeddings, labels)
        readout.solve()
    return readout


def avalanches(experiences: Experiences, shrinkage: float, classes: int) -> nn.Module:
    """Fit Avalanche's, sample by sample, and compute its precision after each experience."""
    settings = {"criterion": nn.CrossEntropyLoss(), "input_size": experiences[0][0].shape[1], "evaluator": None}
    lda = AvalancheSLDA(slda_model=nn.Identity(), num_classes=classes, shrinkage_param=shrinkage, **settings)
    for embeddings, labels in experiences:
        for embedding, label in zip(embeddings, labels, strict=True):
            lda.fit(embedding[None], label[None])
        lda.predict(embeddings[:1])
    return lda.predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds of the class order (default: 5)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "No loggers specified")
    torch.set_num_threads(arguments.threads)
    encoder = build_encoder("audio", "openai/whisper-base", pooling="mean_max")
    table = Table("data", "shrinkage", "implementation", "last accuracy", "CPU seconds of the stream")
    for name, shrinkage in (("barista", 0.3), ("fsdd", 0.1)):
        train, test = (
            cached_features(split, encoder)
            for split in (open_dataset(name, "train") + open_dataset(name, "valid"), open_dataset(name, "test"))
        )
        for fit in (ours, avalanches):
            accuracies, seconds = [], []
            for seed in range(arguments.seeds):
                stream = class_incremental(train, test, 5, seed=seed).train_stream
                rows = [torch.tensor(list(each.dataset.rows[:])) for each in stream]
                scaling = standardization(train.vectors(rows[0].tolist()), encoder.pooled_dim)
                parts = [
                    (train.vectors(own.tolist()) * scaling.gain + scaling.offset, torch.tensor(train.labels)[own])
                    for own in rows
                ]
                started = time.process_time()
                predict = fit(parts, shrinkage, len(train.classes))
                seconds.append(time.process_time() - started)
                scores = predict(test.vectors(range(len(test))) * scaling.gain + scaling.offset)
                accuracies.append(float((scores.argmax(1) == torch.tensor(test.labels)).double().mean()))
            accuracy = 100 * torch.tensor(accuracies)
            spread = f"{accuracy.mean():.1f} ± {accuracy.std():.1f} %"
            table.add_row(name, f"{shrinkage}", fit.__name__, spread, f"{sum(seconds) / len(seconds):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()

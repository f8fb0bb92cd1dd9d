"""A small stream of real speech: spoken digits of two speakers, as log-mel spectra in four steps of time."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool1d

from mmcl.batch import Batch
from mmcl.data import SpokenDigits, class_incremental
from mmcl.encoders import build_encoder
from mmcl.models import SLUClassifier
from mmcl.seeding import seed_everything


class Features:
    """A data set in memory: one vector a sample."""

    def __init__(self, classes, features, labels):
        self.classes, self.features, self._labels = classes, features, torch.tensor(labels)
        self.labels, self.texts = labels, [classes[label] for label in labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return {"features": self.features[index], "label": self.labels[index], "text": self.texts[index]}

    def batch(self, rows):
        texts = [self.texts[row] for row in rows.tolist()]
        return Batch(features=self.features[rows], label=self._labels[rows], text=texts)


@pytest.fixture(scope="session")
def digits(data_dir):
    """Train and test data, 240 and 60 samples of 10 classes, standardised."""
    encoder = build_encoder("audio", "cnn", pooling="mean_max")
    parts = []
    for split, count in (("train", 12), ("test", 3)):
        dataset = SpokenDigits(data_dir / "fsdd", split, speakers=("george", "jackson"))
        rows = [r for label in range(10) for r in _of_class(dataset, label)[: 2 * count]]
        vectors = []
        for row in rows:
            audio = dataset[row]["audio"][None]
            spectrum, _ = encoder.frozen_features(audio, torch.tensor([audio.shape[1]]))  # (1, time, 64)
            vectors.append(adaptive_avg_pool1d(spectrum.transpose(1, 2), 4).flatten())
        parts.append(Features(dataset.classes, torch.stack(vectors), [dataset.labels[row] for row in rows]))
    shift, scale = parts[0].features.mean(0), parts[0].features.std(0)
    for part in parts:
        part.features = (part.features - shift) / scale
    return parts


def _of_class(dataset, label):
    """Rows of one class, the speakers in turn."""
    rows = [row for row, other in enumerate(dataset.labels) if other == label]
    half = len(rows) // 2
    return [row for pair in zip(rows[:half], rows[half:], strict=False) for row in pair]


@pytest.fixture
def benchmark(digits):
    return class_incremental(*digits, experiences=5, seed=0)


@pytest.fixture
def make():
    """Make a strategy of a preset with a fresh model; ``make(replay, memory_size=20)``."""

    def _make(preset, seed=0, lr=1e-3, **settings):
        seed_everything(seed)
        encoder = build_encoder("audio", "cnn", pooling="mean_max", frozen=True)
        encoder.dim = 128  # the vectors of this stream have 256 numbers: twice this, with this pooling
        model = SLUClassifier(encoder, hidden=64, text_encoder=build_encoder("text", "words", dim=32), projection=32)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)
        return preset(model, optimizer, **{"epochs": 4, "batch_size": 16, **settings})

    return _make


@pytest.fixture
def train():
    """Train a strategy on a stream, and return the weights of its model."""

    def _train(strategy, benchmark, experiences=None):
        for experience in benchmark.train_stream[:experiences]:
            strategy.train(experience, eval_streams=[])
        return {name: value.clone() for name, value in strategy.model.state_dict().items()}

    return _train

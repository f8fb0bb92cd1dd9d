"""Fixtures: small streams of spoken digits, models and strategies.

The speech is of two speakers, as log-mel spectra pooled to four time steps or to one per 100 ms.
"""

from __future__ import annotations

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.nn.functional import adaptive_avg_pool1d, avg_pool1d
from torch.nn.utils.rnn import pad_sequence

from mmcl.batch import Batch
from mmcl.data import SpokenDigits, class_incremental
from mmcl.data.base import Entity
from mmcl.encoders import build_encoder
from mmcl.encoders.base import Encoded, Encoder, pool
from mmcl.models import Frame, FrameTokenizer, SLUClassifier, SLUSeq2Seq
from mmcl.seeding import seed_everything


class Features:
    """A data set in memory with one vector per sample."""

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


class Sequences(Features):
    """A data set in memory with a few steps per sample; samples of one speaker have an entity."""

    def __init__(self, classes, features, labels, speakers):
        super().__init__(classes, features, labels)
        self.entities = [(Entity("speaker", speaker),) if speaker == "george" else () for speaker in speakers]

    def __getitem__(self, index):
        return {**super().__getitem__(index), "entities": self.entities[index]}

    def batch(self, rows):
        rows = rows.tolist()
        features = [self.features[row] for row in rows]
        return Batch(
            features=pad_sequence(features, batch_first=True),
            features_lengths=torch.tensor([len(steps) for steps in features]),
            label=self._labels[rows],
            text=[self.texts[row] for row in rows],
            entities=[self.entities[row] for row in rows],
        )


class Steps(Encoder):
    """Returns its input, without padding beyond the longest sample of the batch."""

    modality, dim, frozen = "audio", 64, True

    def frozen_features(self, inputs, lengths=None):
        return inputs, lengths

    def from_features(self, features, lengths):
        features = features[:, : int(lengths.max())]
        return Encoded(features, lengths, pool(features, lengths))

    def fingerprint(self):
        return "steps"


@pytest.fixture(scope="session")
def spectra(data_dir):
    """Classes, log-mel frames ``(1, 64, time)``, labels and speakers of 240 train and 60 test samples."""
    encoder = build_encoder("audio", "cnn", pooling="mean_max")
    parts = []
    for split, count in (("train", 12), ("test", 3)):
        dataset = SpokenDigits(data_dir / "fsdd", split, speakers=("george", "jackson"))
        rows = [r for label in range(10) for r in _of_class(dataset, label)[: 2 * count]]
        frames = []
        for row in rows:
            audio = dataset[row]["audio"][None]
            spectrum, _ = encoder.frozen_features(audio, torch.tensor([audio.shape[1]]))
            frames.append(spectrum.transpose(1, 2))
        labels = [dataset.labels[row] for row in rows]
        parts.append((dataset.classes, frames, labels, [dataset.utterances[row].speaker for row in rows]))
    return parts


@pytest.fixture(scope="session")
def digits(spectra):
    """Train and test data, 240 and 60 samples of 10 classes, standardised."""
    parts = []
    for classes, frames, labels, _ in spectra:
        vectors = [adaptive_avg_pool1d(spectrum, 4).flatten() for spectrum in frames]
        parts.append(Features(classes, torch.stack(vectors), labels))
    shift, scale = parts[0].features.mean(0), parts[0].features.std(0)
    for part in parts:
        part.features = (part.features - shift) / scale
    return parts


@pytest.fixture(scope="session")
def digit_sequences(spectra):
    """The same data as sequences of 2 to 10 steps."""
    return [
        Sequences(classes, [avg_pool1d(spectrum, 10)[0].T for spectrum in frames], labels, speakers)
        for classes, frames, labels, speakers in spectra
    ]


def _of_class(dataset, label):
    """Rows of one class, alternating between the speakers."""
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
        encoder.dim = 128  # the pooling mean_max doubles it to the 256 dimensions of the vectors
        model = SLUClassifier(encoder, hidden=64, text_encoder=build_encoder("text", "words", dim=32), projection=32)
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)
        return preset(model, optimizer, **{"epochs": 4, "batch_size": 16, **settings})

    return _make


def frozen_classifier(hidden=None):
    """A classifier of the vectors that trains nothing before its head, unless it has a hidden layer."""
    encoder = build_encoder("audio", "cnn", pooling="mean_max", frozen=True)
    encoder.dim = 128  # the pooling mean_max doubles it to the 256 dimensions of the vectors
    return SLUClassifier(encoder, hidden=hidden)


@pytest.fixture
def make_closed():
    """Make a closed-form strategy of a preset with a fresh model; ``make_closed(ranpac, projections=20)``."""

    def _make(preset, **settings):
        model = frozen_classifier()
        optimizer = torch.optim.SGD([each for each in model.parameters() if each.requires_grad], lr=0.1)
        return preset(model, optimizer, **settings)

    return _make


@pytest.fixture
def sequence_benchmark(digit_sequences):
    return class_incremental(*digit_sequences, experiences=5, seed=0)


@pytest.fixture
def make_seq2seq(digit_sequences):
    """Make a strategy of a preset with a fresh sequence-to-sequence model; ``make_seq2seq(replay, memory_size=20)``.

    ``dropout`` applies to the model and to its tokenizer.
    """
    data = digit_sequences[0]
    frames = [Frame(data.classes[label], entities, text) for label, entities, text in _annotations(data)]

    def _make(preset, seed=0, lr=1e-2, dropout=0.0, **settings):
        seed_everything(seed)
        tokenizer = FrameTokenizer.train(frames, data.classes, vocabulary=80, dropout=dropout)
        model = SLUSeq2Seq(
            Steps(),
            tokenizer,
            dim=32,
            layers=1,
            heads=2,
            feedforward=64,
            summary=True,
            dropout=dropout,
            projection=8,
            max_tokens=12,
        )
        model.standardize(torch.cat(data.features))
        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, fused=True)
        return preset(model, optimizer, **{"epochs": 2, "batch_size": 16, **settings})

    return _make


def _annotations(data):
    return zip(data.labels, data.entities, data.texts, strict=True)


@pytest.fixture
def train():
    """Train a strategy on a stream, and return the weights of its model."""

    def _train(strategy, benchmark, experiences=None):
        for experience in benchmark.train_stream[:experiences]:
            strategy.train(experience, eval_streams=[])
        return {name: value.clone() for name, value in strategy.model.state_dict().items()}

    return _train


@pytest.fixture
def each_step():
    """Function that trains on an experience and calls ``check(strategy, terms)`` with the losses of each step."""

    def _each_step(strategy, experience, check):
        class Watcher(SupervisedPlugin):
            def before_training_epoch(self, strategy, **kwargs):
                self.before = {}

            def after_backward(self, strategy, **kwargs):
                now = dict(strategy.losses)
                added = {n: v - self.before.get(n, 0.0) for n, v in now.items() if v != self.before.get(n)}
                self.before = now
                with torch.no_grad():
                    check(strategy, added)

        strategy.plugins.append(Watcher())
        strategy.train(experience, eval_streams=[])

    return _each_step


@pytest.fixture
def alone():
    """Function that returns one sample of a batch as a batch, without padding."""

    def _alone(batch, row):
        one = batch.select(torch.arange(batch.size) == row)
        return Batch({**one, "features": one["features"][:, : int(one["features_lengths"][0])]})

    return _alone


class Views:
    """Two classes that are separable in each of three views."""

    classes = ("low", "high")
    features = {"mrna": 4, "methylation": 4, "mirna": 4}
    modalities = dict.fromkeys(features, "tabular")

    def __init__(self, seed=0, count=40):
        random = torch.Generator().manual_seed(seed)
        self.labels = [row % 2 for row in range(count)]
        self.texts = [self.classes[label] for label in self.labels]
        centre = torch.tensor(self.labels)[:, None] * 1.0
        self.all = {view: centre + torch.randn(count, 4, generator=random) for view in self.features}

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {view: vectors[row] for view, vectors in self.all.items()} | {"label": self.labels[row]}


@pytest.fixture
def make_views():
    """Function that makes a data set of three views from a seed."""
    return Views

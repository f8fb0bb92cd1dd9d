"""Data of any size, of which little is in memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from mmcl.batch import Batch
from mmcl.encoders.base import Encoded, Encoder
from mmcl.models import SLUClassifier


class Points:
    """Classes as random directions, and a few samples near each: a data set in memory."""

    def __init__(self, classes: int, samples: int, dim: int = 32, seed: int = 0) -> None:
        self.classes = [f"class {number}" for number in range(classes)]
        self.labels = [row % classes for row in range(classes * samples)]
        self.texts = [self.classes[label] for label in self.labels]
        generator = torch.Generator().manual_seed(0)
        centers = torch.nn.functional.normalize(torch.randn(classes, dim, generator=generator))
        self._label = torch.tensor(self.labels)
        noise = torch.randn(len(self.labels), dim, generator=generator.manual_seed(seed))
        self._features = 8 * centers[self._label] + 0.1 * noise

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict:
        return {"features": self._features[index], "label": self.labels[index], "text": self.texts[index]}

    def batch(self, rows: torch.Tensor) -> Batch:
        """Samples ``rows``."""
        texts = [self.texts[row] for row in rows.tolist()]
        return Batch(features=self._features[rows], label=self._label[rows], text=texts)


@pytest.fixture
def points() -> type[Points]:
    """A data set of so many classes, with so many samples of each."""
    return Points


class Given(Encoder):
    """Frozen, and what it makes of a sample is there already."""

    modality, dim, frozen = "audio", 32, True

    def frozen_features(self, inputs, lengths=None):
        """As they are."""
        return inputs, lengths

    def from_features(self, features, lengths):
        """As they are."""
        return Encoded(features, lengths, features)

    def fingerprint(self):
        """One."""
        return "given"


@pytest.fixture
def classifier() -> Callable[[], SLUClassifier]:
    """Makes a classifier of points."""

    def make() -> SLUClassifier:
        torch.manual_seed(0)
        return SLUClassifier(Given(), hidden=64)

    return make

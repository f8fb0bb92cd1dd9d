"""A small network trained on 600 real digits, shared by the tests of unlearning methods."""

from __future__ import annotations

import pytest
import torch

from mmcl.data import Mnist
from mmcl.data.selection import Selection
from mmcl.models import ImageClassifier
from mmcl.seeding import seed_everything
from mmcl.unlearning import train_classifier


@pytest.fixture(scope="session")
def digits(data_dir):
    """600 images of MNIST."""
    data = Mnist(data_dir / "MNIST", "train")
    return Selection(data, torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:600].tolist())


@pytest.fixture(scope="session")
def remain(digits):
    """Digits other than zero."""
    return Selection(digits.source, [row for row in digits.rows if row not in _zeros(digits)])


@pytest.fixture(scope="session")
def forget(digits):
    """All zeros."""
    return Selection(digits.source, _zeros(digits))


@pytest.fixture(scope="session")
def _trained(digits):
    seed_everything(0)
    return train_classifier(ImageClassifier(), digits, epochs=5, learning_rate=1e-3)


@pytest.fixture
def trained(_trained):
    """The trained network, with the random seed reset; the test fails if the network was changed."""
    seed_everything(1)
    before = {name: tensor.clone() for name, tensor in _trained.state_dict().items()}
    yield _trained
    assert all(torch.equal(tensor, before[name]) for name, tensor in _trained.state_dict().items())


@pytest.fixture
def accuracy():
    """Accuracy of a model on a data set."""

    def measure(model, data):
        from mmcl.unlearning import Parts

        logits = Parts(model).represent(data).logits
        return float((logits.argmax(1) == torch.tensor(data.labels)).double().mean())

    return measure


def _zeros(digits):
    return [row for row, label in zip(digits.rows, digits.labels, strict=True) if label == 0]

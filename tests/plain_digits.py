"""Plain torch models and data sets on scikit-learn's handwritten digits, shared by tests."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset


class WithTargets(torch.utils.data.Dataset):
    """A data set like those of torchvision: ``targets``, and pairs of an image tensor and a label."""

    def __init__(self, images, labels):
        self.images, self.targets = images, labels.tolist()

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, row):
        return self.images[row], self.targets[row]


def digit_tensors(classes=4):
    """Images ``(samples, 1, 8, 8)`` in [0, 1] and labels of some digits, for training and for testing."""
    digits = load_digits()
    keep = digits.target < classes
    images = torch.tensor(digits.images[keep], dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target[keep])
    return (images[:320], labels[:320]), (images[320:600], labels[320:600])


def as_vectors(images, labels):
    """A ``TensorDataset`` of vectors."""
    return TensorDataset(images.flatten(1), labels)


def as_pairs(images, labels):
    """A list of pairs of a vector and a label."""
    return [(image.flatten(), label) for image, label in zip(images, labels.tolist(), strict=True)]


KINDS = {"tensors": as_vectors, "pairs": as_pairs, "targets": WithTargets}


def sequential(classes=4, seed=0):
    """An untrained ``nn.Sequential`` that returns logits of vectors or images of 64 numbers."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, classes))

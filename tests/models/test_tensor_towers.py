"""Plain modules and data sets in contrastive training."""

from __future__ import annotations

import pytest
import torch
from plain_digits import as_vectors, digit_tensors
from torch import nn
from torch.utils.data import TensorDataset

from mmcl.data import PairedDataset
from mmcl.errors import ConfigError, DataError
from mmcl.objectives import CLIPLoss, NTXentLoss
from mmcl.training.contrastive import ContrastiveTrainer


def tower(size):
    return nn.Sequential(nn.Linear(size, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 8))


def train(models, pairs, objective, **settings):
    torch.manual_seed(0)
    parameters = [each for model in models for each in model.parameters()]
    trainer = ContrastiveTrainer(
        models if len(models) > 1 else models[0],
        pairs,
        objective,
        torch.optim.AdamW(parameters, lr=5e-3),
        epochs=5,
        batch_size=32,
        **settings,
    )
    return list(trainer)


def test_two_plain_towers_learn_to_match_the_halves_of_a_digit():
    (images, labels), _ = digit_tensors()
    halves = [TensorDataset(images.flatten(1)[:, part], labels) for part in (slice(32), slice(32, 64))]
    losses = train([tower(32), tower(32)], PairedDataset(*halves), CLIPLoss(0.2))
    assert losses[-1] < losses[0] - 0.2


def test_two_views_of_one_plain_tower_with_gradient_caching():
    (images, labels), _ = digit_tensors()
    losses = train([tower(64)], PairedDataset(as_vectors(images, labels)), NTXentLoss(0.2), views=2)
    cached = train([tower(64)], PairedDataset(as_vectors(images, labels)), NTXentLoss(0.2), views=2, micro_batch_size=8)
    assert losses[-1] < losses[0] and cached[-1] < cached[0]


def test_wrong_towers_and_pairs_are_typed_errors():
    (images, labels), _ = digit_tensors()
    pairs = PairedDataset(as_vectors(images, labels))
    with pytest.raises(ConfigError, match="one or two modules"):
        train([tower(64), tower(64), tower(64)], pairs, CLIPLoss())
    with pytest.raises(ConfigError, match=r"expected embeddings \(batch, dim\)"):
        train([nn.Sequential(nn.Linear(64, 4), nn.Unflatten(1, (2, 2)))], pairs, NTXentLoss(), views=2)
    with pytest.raises(DataError, match="pair 0"):
        PairedDataset(as_vectors(images, labels), as_vectors(images, labels.flip(0)))

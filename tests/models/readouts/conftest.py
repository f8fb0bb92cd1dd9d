"""Samples for closed-form classifiers: classes about random means, with one covariance."""

import pytest
import torch


@pytest.fixture
def samples():
    """Function that returns embeddings, labels and test embeddings; ``samples(classes=3, dim=5, each=20)``."""

    def _samples(classes=3, dim=5, each=20, seed=0):
        random = torch.Generator().manual_seed(seed)
        mixing = torch.randn(dim, dim, generator=random) / dim**0.5 + torch.eye(dim)
        means = 2 * torch.randn(classes, dim, generator=random) + 1
        labels = torch.arange(classes).repeat(each)
        embeddings = means[labels] + torch.randn(len(labels), dim, generator=random) @ mixing
        tests = means.repeat(4, 1) + torch.randn(4 * classes, dim, generator=random) @ mixing
        return embeddings, labels, tests

    return _samples


@pytest.fixture
def fit():
    """Function that adds samples to a read-out in batches, and solves; ``fit(readout, embeddings, labels, [4, 6])``."""

    def _fit(readout, embeddings, labels, sizes=None, held_out=None):
        readout.grow(labels.tolist())
        held_out = torch.zeros(len(labels), dtype=torch.bool) if held_out is None else held_out
        parts = [each.split(sizes or len(labels)) for each in (embeddings, labels, held_out)]
        for batch in zip(*parts, strict=True):
            readout.add(*batch)
        readout.solve()
        return readout

    return _fit

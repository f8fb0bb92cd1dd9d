"""Nearest neighbours: accuracy of a vote among the closest training embeddings."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import Count
from mmcl.errors import ConfigError
from mmcl.metrics.linear_probe import unit_sides


@takes_tensors
def nearest_neighbours(
    train: Tensor, train_labels: Sequence[int], test: Tensor, test_labels: Sequence[int], *, neighbours: Count = 20
) -> float:
    """Return the accuracy of a majority vote among the training embeddings with the largest cosine.

    Votes are weighted by ``1 / distance`` of unit-length embeddings.

    Args:
        train, test: embeddings ``(samples, dim)``.
        train_labels, test_labels: label of each embedding.
        neighbours: embeddings that vote; all if there are fewer.

    Raises:
        ConfigError: ``neighbours`` is below 1.
        ShapeError: there are no embeddings, dimensions differ, or the numbers of embeddings and labels differ.
        InputError: embeddings are not finite.
        LabelError: there are fewer than two training classes, or labels are not integers.

    >>> import torch
    >>> nearest_neighbours(torch.eye(4), [0, 0, 1, 1], torch.eye(4), [0, 0, 1, 0], neighbours=1)
    0.75
    """
    from sklearn.neighbors import KNeighborsClassifier

    if neighbours < 1:
        raise ConfigError(f"neighbours is {neighbours}, expected 1 or more")
    known, told, asked, wanted = unit_sides(train, train_labels, test, test_labels)
    vote = KNeighborsClassifier(min(neighbours, len(known)), weights="distance", algorithm="brute")
    return float(vote.fit(known, told).score(asked, wanted))

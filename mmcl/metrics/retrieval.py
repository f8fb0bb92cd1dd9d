"""Cross-modal retrieval: recall and rank of the matching item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.unit import directions

_ROWS = 1024  # queries per block, so the full similarity matrix is never in memory


class Retrieval(NamedTuple):
    """Retrieval results over all queries: recall at each k (fraction of queries with their target among the first k),
    and mean and median rank of the target, where 1 is best."""

    recall: dict[int, float]
    mean_rank: float
    median_rank: float


@takes_tensors
def ranks(queries: Tensor, keys: Tensor, targets: Tensor | None = None) -> Tensor:
    """Return the rank of each query's target among all keys by cosine similarity, ``(queries,)``, starting from 1.

    Keys with the same similarity as the target rank before it, so collapsed embeddings get the last rank.

    Args:
        queries: ``(queries, dim)``.
        keys: ``(keys, dim)``.
        targets: row of each query's target in ``keys``, ``(queries,)``; None for the same row.

    Raises:
        ShapeError: shapes do not match.
        InputError: embeddings are not finite, or a target is out of range.

    >>> ranks(torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[1.0, 0.1], [1.0, 0.0]])).tolist()
    [2, 2]
    """
    if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1] or not len(keys):
        raise ShapeError(
            f"queries have shape {tuple(queries.shape)} and keys {tuple(keys.shape)}, expected (queries, dim) and "
            "(keys, dim), and at least one key"
        )
    if not (queries.isfinite().all() and keys.isfinite().all()):
        raise InputError("embeddings are not finite, expected numbers: check the model that computed them")
    targets = torch.arange(len(queries), device=queries.device) if targets is None else targets
    if targets.shape != queries.shape[:1]:
        raise ShapeError(f"targets have shape {tuple(targets.shape)}, expected one for each of {len(queries)} queries")
    if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < len(keys):
        raise InputError(f"targets are {int(targets.min())} to {int(targets.max())}, expected 0 to {len(keys) - 1}")
    queries, keys = directions(queries), directions(keys)
    found = []
    for rows, wanted in zip(queries.split(_ROWS), targets.split(_ROWS), strict=True):
        similarities = rows @ keys.T
        found.append((similarities >= similarities.gather(1, wanted[:, None])).sum(1))
    return torch.cat(found) if found else targets


@takes_tensors
def retrieval(
    queries: Tensor, keys: Tensor, targets: Tensor | None = None, *, at: Sequence[int] = (1, 5, 10)
) -> Retrieval:
    """Return recall and rank of the targets; see :func:`ranks` for arguments and errors.

    Args:
        at: values of k for recall@k.

    >>> retrieval(torch.eye(3), torch.eye(3), at=(1,))
    Retrieval(recall={1: 1.0}, mean_rank=1.0, median_rank=1.0)
    """
    at = whole_numbers(at, "at")
    place = ranks(queries, keys, targets).double()
    if not len(place):
        raise ShapeError("there are 0 queries, expected at least 1")
    return Retrieval(
        {k: float((place <= k).double().mean()) for k in at}, float(place.mean()), float(place.quantile(0.5))
    )

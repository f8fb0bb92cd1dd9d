"""A map of embeddings in two dimensions, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmcl.errors import LabelError, ShapeError
from mmcl.whole_numbers import whole_numbers


def embedding_map(embeddings: Tensor, labels: Sequence[int], *, limit: int = 500, seed: int = 0) -> dict[str, Any]:
    """Return two coordinates of each sample, ``points`` by t-SNE (van der Maaten and Hinton 2008), and ``labels``.

    Its distances mean little: a map shows which samples are near each other.

    Args:
        embeddings: ``(samples, dim)``.
        labels: of the samples.
        limit: samples that are shown, a random choice where there are more.
        seed: of that choice, and of the map.

    Raises:
        ShapeError: fewer than 4 samples, or other numbers of labels.

    >>> len(embedding_map(torch.randn(30, 8), [0] * 30, limit=20)["points"])
    20
    """
    from sklearn.manifold import TSNE

    labels = whole_numbers(labels, "labels", error=LabelError)
    if embeddings.dim() != 2 or len(embeddings) != len(labels) or len(embeddings) < 4:
        raise ShapeError(
            f"embeddings have shape {tuple(embeddings.shape)} and there are {len(labels)} labels, expected "
            "(samples, dim), 4 or more, and a label each"
        )
    rows = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
    tsne = TSNE(perplexity=min(30.0, (len(rows) - 1) / 3), init="pca", random_state=seed)
    points = tsne.fit_transform(embeddings[rows].double().cpu().numpy())
    return {"points": points.round(2).tolist(), "labels": [labels[row] for row in rows.tolist()]}

"""A map of embeddings in two dimensions, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import LabelError, ShapeError
from mmcl.objectives.kernel.inputs import check_features


def embedding_map(embeddings: Tensor, labels: Sequence[int], *, limit: int = 500, seed: int = 0) -> dict[str, Any]:
    """Return two coordinates of each sample, ``points`` by t-SNE (van der Maaten and Hinton 2008), and ``labels``.

    Its distances mean little: a map shows which samples are near each other. Embeddings that are all alike are one
    point.

    Args:
        embeddings: ``(samples, dim)``.
        labels: of the samples.
        limit: samples that are shown, a random choice where there are more.
        seed: of that choice, and of the map.

    Raises:
        ShapeError: fewer than 4 samples, or other numbers of labels.
        InputError: embeddings that are not finite.

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
    check_features(embeddings=embeddings)
    rows = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
    tsne = TSNE(perplexity=min(30.0, (len(rows) - 1) / 3), init="pca", random_state=seed)
    values = _mappable(embeddings[rows].detach().double().cpu())
    points = tsne.fit_transform(values.numpy()).round(2).tolist() if values is not None else [[0.0, 0.0]] * len(rows)
    return {"points": points, "labels": [labels[row] for row in rows.tolist()]}


def _mappable(values: Tensor) -> Tensor | None:
    """Return at least two features of moderate size, as t-SNE needs them, or None if no sample differs from another."""
    size = float(values.abs().max()) if values.numel() else 0.0
    if not size or float((values.amax(0) - values.amin(0)).max()) <= 1e-7 * size:
        return None
    if not 1e-10 < size < 1e10:
        values = values / size
    return pad(values, (0, max(0, 2 - values.shape[1])))

"""Two-dimensional maps of embeddings by t-SNE, for plots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import LabelError, ShapeError
from mmcl.objectives.kernel.inputs import check_features, require_finite


@takes_tensors
def embedding_map(embeddings: Tensor, labels: Sequence[int], *, limit: int = 500, seed: int = 0) -> dict[str, Any]:
    """Return two coordinates per sample, ``points``, by t-SNE (van der Maaten and Hinton 2008), and their ``labels``.

    Only neighbourhoods are meaningful, distances are not. Equal embeddings give equal points.

    Args:
        embeddings: ``(samples, dim)``.
        labels: label of each sample.
        limit: maximum number of points; more samples are subsampled at random.
        seed: seed of the subsample and of t-SNE.

    Raises:
        ShapeError: there are fewer than 4 samples, or the numbers of embeddings and labels differ.
        InputError: embeddings are not finite.

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
    require_finite(embeddings=embeddings)
    rows = torch.randperm(len(embeddings), generator=torch.Generator().manual_seed(seed))[:limit].sort().values
    tsne = TSNE(perplexity=min(30.0, (len(rows) - 1) / 3), init="pca", random_state=seed)
    values = _mappable(embeddings[rows].detach().double().cpu())
    points = tsne.fit_transform(values.numpy()).round(2).tolist() if values is not None else [[0.0, 0.0]] * len(rows)
    return {"points": points, "labels": [labels[row] for row in rows.tolist()]}


def _mappable(values: Tensor) -> Tensor | None:
    """Return embeddings scaled and padded for t-SNE, or None if all samples are equal."""
    size = float(values.abs().max()) if values.numel() else 0.0
    if not size or float((values.amax(0) - values.amin(0)).max()) <= 1e-7 * size:
        return None
    if not 1e-10 < size < 1e10:
        values = values / size
    return pad(values, (0, max(0, 2 - values.shape[1])))

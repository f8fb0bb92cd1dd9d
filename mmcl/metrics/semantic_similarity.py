"""Semantic textual similarity: correlation of cosines with scores from people."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.unit import directions


@takes_tensors
def semantic_similarity(first: Tensor, second: Tensor, scores: Sequence[float]) -> dict[str, float]:
    """Return the correlations ``Spearman`` and ``Pearson`` of the cosines of pairs with their scores.

    They are 0 if all cosines or all scores are equal.

    Args:
        first, second: embeddings of both texts of each pair, ``(pairs, dim)``.
        scores: score of each pair.

    Raises:
        ShapeError: shapes do not match, or there are fewer than two pairs.
        InputError: an embedding or a score is not finite.

    >>> first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    >>> semantic_similarity(first, torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), [5, 3, 1])["Spearman"]
    1.0
    """
    from scipy.stats import pearsonr, spearmanr

    if first.dim() != 2 or first.shape != second.shape or len(scores) != len(first) or len(first) < 2:
        raise ShapeError(
            f"first is {tuple(first.shape)}, second {tuple(second.shape)} and there are {len(scores)} scores, expected "
            "(pairs, dim) twice and a score for each of 2 pairs or more"
        )
    wanted = torch.tensor(scores, dtype=torch.double)
    if not (first.isfinite().all() and second.isfinite().all() and wanted.isfinite().all()):
        raise InputError("embeddings or scores are not finite, expected numbers: check the model and the data")
    cosines = (directions(first.double()) * directions(second.double())).sum(1).cpu()
    if min(float(each.amax() - each.amin()) for each in (cosines, wanted)) < 1e-9:
        return {"Spearman": 0.0, "Pearson": 0.0}
    found = {"Spearman": spearmanr, "Pearson": pearsonr}
    return {name: float(compute(cosines.numpy(), wanted.numpy())[0]) for name, compute in found.items()}

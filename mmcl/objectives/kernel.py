"""The one function that every contrastive objective is made of."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize as unit

from mmcl.errors import ShapeError


def weighted_info_nce(
    queries: Tensor,
    keys: Tensor,
    weights: Tensor,
    *,
    denominator: Tensor | None = None,
    temperature: float | Tensor = 0.1,
    normalize: bool = True,
    normalize_rows: bool = True,
) -> Tensor:
    """Compare each query with all keys, and pull it towards those that have weight.

    With s_ij = <q_i, k_j> / temperature, weights W >= 0 and a denominator N::

        loss_i = c_i log sum_k N_ik exp(s_ik) - sum_j W_ij s_ij,    c_i = sum_j W_ij

    and the result is the mean over the rows that have weight. A row without weight counts 0 and keeps its gradient
    path; without any such row the result is 0. Entries of W may lie outside N. Half precision is computed in float32.

    Args:
        queries: ``(queries, dim)``.
        keys: ``(keys, dim)``.
        weights: ``(queries, keys)``, boolean or non-negative.
        denominator: which keys a query is compared with, ``(queries, keys)``, boolean or non-negative; None for all.
        temperature: a number or a tensor of no dimensions, greater than 0.
        normalize: scale queries and keys to unit length first.
        normalize_rows: scale each row of W to sum 1; False keeps the row's mass as the factor of its logsumexp.

    Raises:
        ShapeError: the shapes do not fit together.

    >>> queries, keys = torch.eye(2), torch.eye(2)
    >>> round(weighted_info_nce(queries, keys, torch.eye(2), temperature=1.0).item(), 4)  # log(e + 1) - 1
    0.3133
    """
    if queries.dim() != 2 or keys.dim() != 2 or queries.shape[1] != keys.shape[1]:
        raise ShapeError(
            f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} do not fit: expected (batch, dim), equal dim"
        )
    pairs = (len(queries), len(keys))
    for name, matrix in (("weights", weights), ("denominator", denominator)):
        if matrix is not None and tuple(matrix.shape) != pairs:
            raise ShapeError(f"{name} has shape {tuple(matrix.shape)}, expected (queries, keys) = {pairs}")

    dtype = torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32)
    queries, keys = queries.to(dtype), keys.to(dtype)
    if normalize:
        queries, keys = unit(queries, dim=1), unit(keys, dim=1)
    similarities = queries @ keys.T / temperature

    weights = weights.to(dtype)
    mass = weights.sum(1)
    counts = mass > 0
    if normalize_rows:
        weights = weights / torch.where(counts, mass, 1)[:, None]
        mass = counts.to(dtype)

    compared = similarities
    if denominator is not None:
        compared = similarities.masked_fill(denominator == 0, float("-inf"))
        if denominator.dtype != torch.bool:
            compared = compared + torch.where(denominator == 0, 1, denominator).to(dtype).log()
        # A row that is compared with nothing has no logsumexp; it may not have weight either.
        compared = torch.where((denominator != 0).any(1, keepdim=True) | counts[:, None], compared, similarities)
    losses = mass * compared.logsumexp(1) - (weights * similarities).sum(1)
    return losses.sum() / counts.sum().clamp(min=1)

"""Casting, normalization and temperature scaling of queries and keys."""

from __future__ import annotations

from torch import Tensor

from mmcl.objectives.kernel.inputs import precise
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import Temperature, temperature_of


def similarity_factors(
    queries: Tensor,
    keys: Tensor,
    temperature: Temperature,
    *,
    normalize: bool = True,
    alike: bool = False,
    per_query: bool = False,
) -> tuple[Tensor, Tensor]:
    """Return scaled queries and keys with ``queries keys^T`` as similarities.

    The products are ``<q_i, k_j> / temperature``, with unit-length rows if normalized, of at least float32.

    Args:
        queries: ``(queries, dim)``.
        keys: ``(keys, dim)``.
        temperature: a positive number or scalar tensor; with ``per_query`` also ``(queries,)``.
        normalize: scale rows to unit length.
        alike: queries and keys are the same tensor. The result is then one tensor for both, if the temperature is a
            single number, so that each similarity need be computed once for its two pairs.
        per_query: allow one temperature per query.

    Raises:
        ShapeError, InputError: invalid temperature.

    >>> import torch
    >>> queries, keys = similarity_factors(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]]), 0.5)
    >>> round((queries @ keys.T).item(), 4)  # cosine 0.6 / temperature 0.5
    1.2
    """
    scale = 1 / temperature_of(temperature, rows=len(queries) if per_query else None)
    q, k = precise(queries, keys)
    if isinstance(scale, Tensor):
        scale = scale.to(q)
        alike, scale = alike and scale.dim() == 0, scale[:, None] if scale.dim() else scale
    if alike:
        q = unit(q, scale**0.5) if normalize else q * scale**0.5
        return q, q
    return (unit(q, scale), unit(k)) if normalize else (q * scale, k)

"""Casting, normalization and temperature scaling of queries and keys."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import precise
from mmcl.objectives.kernel.products import Products, uses_kernels
from mmcl.objectives.kernel.unit import unit, unit_for_products
from mmcl.objectives.temperature import Temperature, temperature_of


class Factors(NamedTuple):
    """Queries and keys with ``queries keys^T`` as similarities.

    Args:
        queries, keys: ``(queries, dim)`` and ``(keys, dim)``, of at least float32.
        products: the same in half precision for the products, without gradient; None to multiply queries and keys.
    """

    queries: Tensor
    keys: Tensor
    products: Products | None = None

    def gathered(self, processes: Processes) -> Factors:
        """Return the queries of this process and the keys of all processes."""
        products = self.products
        if products is not None and products.key_scale is not None:
            against, scale = processes.gather(products.against), processes.gather(products.key_scale)
            products = products._replace(keys=against, key_scale=scale)
        return Factors(self.queries, processes.gather(self.keys), products)


def similarity_factors(
    queries: Tensor,
    keys: Tensor,
    temperature: Temperature,
    *,
    normalize: bool = True,
    alike: bool = False,
    per_query: bool = False,
    product: torch.dtype | None = None,
) -> Factors:
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
        product: half precision of the products, from :func:`~mmcl.objectives.kernel.products.product_type`.

    Raises:
        ShapeError, InputError: invalid temperature.

    >>> queries, keys, _ = similarity_factors(torch.tensor([[3.0, 4.0]]), torch.tensor([[2.0, 0.0]]), 0.5)
    >>> round((queries @ keys.T).item(), 4)  # cosine 0.6 / temperature 0.5
    1.2
    """
    scale = 1 / temperature_of(temperature, rows=len(queries) if per_query else None)
    if isinstance(scale, Tensor):
        scale = scale.to(torch.promote_types(torch.promote_types(queries.dtype, keys.dtype), torch.float32))
        scale = scale.to(queries.device)
        alike, scale = alike and scale.dim() == 0, scale[:, None] if scale.dim() else scale
    if uses_kernels(queries, keys) and normalize:
        rows = unit_for_products(queries, scale**0.5 if alike else scale, product)
        others = rows if alike else unit_for_products(keys, 1.0, product)
        products = Products(rows.product, others.product, rows.scale, others.scale) if product else None
        return Factors(rows.values, others.values, products)
    q, k = precise(queries, keys)
    if product and not normalize and not alike:
        lengths = q.new_ones(len(q)) * (scale.squeeze() if isinstance(scale, Tensor) else scale)
        halves = queries.detach().to(product).contiguous(), keys.detach().to(product).contiguous()
        return Factors(q * scale, k, Products(*halves, lengths.detach(), k.new_ones(len(k))))
    if alike:
        q = unit(q, scale**0.5) if normalize else q * scale**0.5
        return Factors(q, q)
    return Factors(unit(q, scale), unit(k)) if normalize else Factors(q * scale, k)

"""Batch: scaled features and the pairs between them, for the losses of the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.factors import Factors, similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.temperature import Temperature


class Batch(NamedTuple):
    """Scaled queries of this process, keys of all processes, and the pairs between them.

    Args:
        factors: queries and keys.
        pairs: weights and denominators by name.
        processes: distribution of the keys; None for one process.
    """

    factors: Factors
    pairs: Mapping[str, Pairs]
    processes: Processes | None

    @classmethod
    def of(
        cls,
        queries: Tensor,
        keys: Tensor,
        pairs: Mapping[str, Pairs],
        temperature: Temperature,
        product: torch.dtype | None,
        *,
        normalize: bool,
        alike: bool = False,
        gather: bool,
    ) -> Batch:
        """Scale, gather and check.

        Args:
            queries, keys, pairs, temperature, normalize, gather: as in
                :func:`~mmcl.objectives.kernel.info_nce.weighted_info_nce`.
            product: half precision of the products, see
                :func:`~mmcl.objectives.kernel.products.product_type`.
            alike: queries and keys are the same tensor.

        Raises:
            ShapeError: pairs of another shape.
        """
        factors = similarity_factors(
            queries, keys, temperature, normalize=normalize, alike=alike, per_query=True, product=product
        )
        processes = Processes.of(factors.keys) if gather else None
        if processes:
            factors = factors.gathered(processes)
            pairs = {name: each.gathered(processes) for name, each in pairs.items()}
        for name, each in pairs.items():
            if each.shape != (expected := (len(factors.queries), len(factors.keys))):
                raise ShapeError(f"{name} has shape {each.shape}, expected (queries, keys) = {expected}")
        return cls(factors, pairs, processes)


def reciprocal(mass: Tensor) -> Tensor:
    """Return ``1 / mass``, and 0 for a mass that is zero or so small that the reciprocal could be infinite.

    >>> reciprocal(torch.tensor([2.0, 0.0]))
    tensor([0.5000, 0.0000])
    """
    usable = mass.abs() >= torch.finfo(mass.dtype).tiny
    return torch.where(usable, 1 / torch.where(usable, mass, 1), 0)

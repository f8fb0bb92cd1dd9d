"""Sparse: a weight matrix given as a list of pairs, such as the edges of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.arguments import require_tensors
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.gather import Processes


@dataclass(frozen=True, eq=False)
class Sparse(Pairs):
    """Weights of listed pairs, 0 for all others; memory is O(pairs + batch x dim).

    The weights of a repeated pair add up. As a denominator the matrix is stored in full.

    Args:
        queries: row of each pair, ``(pairs,)``.
        keys: column of each pair, ``(pairs,)``; with ``gather``, an index into the keys of all processes.
        size: ``(queries, keys)``; with ``gather``, the keys are those of all processes.
        values: weight of each pair, ``(pairs,)``, 0 or greater; None for 1.

    Raises:
        ShapeError: the arguments differ in length.
        InputError: an index outside ``size``, or a weight that is negative or not finite.

    >>> Sparse(torch.tensor([0, 0]), torch.tensor([1, 2]), (1, 3)).dense(torch.zeros(1))
    tensor([[0., 1., 1.]])
    """

    queries: Tensor
    keys: Tensor
    size: tuple[int, int]
    values: Tensor | None = None

    def __post_init__(self) -> None:
        given = {"queries": self.queries, "keys": self.keys, "values": self.values}
        require_tensors(**{name: each for name, each in given.items() if each is not None})
        sizes = {len(each) for each in (self.queries, self.keys, self.values) if each is not None}
        if len(sizes) != 1 or self.queries.dim() != 1:
            raise ShapeError(f"queries, keys and values have lengths {sorted(sizes)}, expected one value per pair")
        if torch.compiler.is_compiling() or not len(self.queries):
            return
        for name, indices, count in (("queries", self.queries, self.size[0]), ("keys", self.keys, self.size[1])):
            low, high = (int(bound) for bound in indices.aminmax())
            if low < 0 or high >= count:
                raise InputError(f"{name} of pairs range from {low} to {high}, expected 0 to {count - 1}")
        if self.values is not None and not bool(((self.values >= 0) & self.values.isfinite()).all()):
            raise InputError("values of pairs hold a negative, infinite or NaN weight, expected finite weights >= 0")

    @property
    def shape(self) -> tuple[int, int]:
        return self.size

    def matmul(self, keys: Tensor) -> Tensor:
        return torch.sparse.mm(self._matrix(keys), keys)

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        return torch.sparse.mm(self._matrix(queries).t(), queries)

    def gathered(self, processes: Processes) -> Sparse:
        return self

    def _matrix(self, like: Tensor) -> Tensor:
        values = like.new_ones(len(self.queries)) if self.values is None else self.values.to(like.dtype)
        indices = torch.stack([self.queries, self.keys])
        with torch.sparse.check_sparse_tensor_invariants(False):  # checked in __post_init__
            return torch.sparse_coo_tensor(indices, values, self.size)

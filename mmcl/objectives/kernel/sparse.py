"""Sparse: a weight matrix given as a list of pairs, such as the edges of a graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.arguments import require_tensors
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import checks_values, poisoned


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
        InputError: an index outside ``size``, or a weight that is negative or not finite. On devices whose values are
            not checked at once, these make the loss NaN.

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
        if not len(self.queries):
            return
        if 0 in self.size:
            raise InputError(f"{len(self.queries)} pairs are listed of a matrix of size {self.size}, expected none")
        if not self._checked:
            self._poison()
            return
        for name, indices, count in (("queries", self.queries, self.size[0]), ("keys", self.keys, self.size[1])):
            low, high = (int(bound) for bound in indices.aminmax())
            if low < 0 or high >= count:
                raise InputError(f"{name} of pairs range from {low} to {high}, expected 0 to {count - 1}")
        if self.values is not None and not bool(((self.values >= 0) & self.values.isfinite()).all()):
            raise InputError("values of pairs hold a negative, infinite or NaN weight, expected finite weights >= 0")

    @property
    def _checked(self) -> bool:
        return checks_values(self.queries, self.keys, *([] if self.values is None else [self.values]))

    def _poison(self) -> None:
        """Keep indices within the matrix; if an index or a weight is not valid, all weights become NaN."""
        queries, keys = self.queries.long().clamp(0, self.size[0] - 1), self.keys.long().clamp(0, self.size[1] - 1)
        valid = ((queries == self.queries) & (keys == self.keys)).all()
        values = torch.ones_like(queries, dtype=torch.float32) if self.values is None else self.values
        values = values if values.is_floating_point() else values.float()
        valid = valid & ((values >= 0) & values.isfinite()).all()
        object.__setattr__(self, "queries", queries)
        object.__setattr__(self, "keys", keys)
        object.__setattr__(self, "values", poisoned(values, valid))

    @property
    def shape(self) -> tuple[int, int]:
        return self.size

    def matmul(self, keys: Tensor) -> Tensor:
        if not self._checked:
            return self._sums(keys, self.keys, self.queries, self.size[0])
        return torch.sparse.mm(self._matrix(keys), keys)

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        if not self._checked:
            return self._sums(queries, self.queries, self.keys, self.size[1])
        return torch.sparse.mm(self._matrix(queries).t(), queries)

    def dense(self, like: Tensor) -> Tensor:
        if not self._checked:
            return like.new_zeros(self.size).index_put((self.queries, self.keys), self._weights(like), accumulate=True)
        return super().dense(like)

    def gathered(self, processes: Processes) -> Sparse:
        return self

    def _weights(self, like: Tensor) -> Tensor:
        return like.new_ones(len(self.queries)) if self.values is None else self.values.to(like.dtype)

    def _sums(self, rows: Tensor, sources: Tensor, targets: Tensor, count: int) -> Tensor:
        """Return the product by sums of weighted rows, since sparse matrices of torch wait for the device."""
        size = max(1, *self.size)  # pairs at a time, so that no part is larger than the features
        sums = rows.new_zeros(count, rows.shape[1])
        parts = (each.split(size) for each in (sources, targets, self._weights(rows)))
        for source, target, weight in zip(*parts, strict=True):
            sums = sums.index_add(0, target, weight[:, None] * rows[source])
        return sums

    def _matrix(self, like: Tensor) -> Tensor:
        indices = torch.stack([self.queries, self.keys])
        with torch.sparse.check_sparse_tensor_invariants(False):  # checked in __post_init__
            return torch.sparse_coo_tensor(indices, self._weights(like), self.size)

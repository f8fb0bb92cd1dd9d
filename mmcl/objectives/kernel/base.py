"""Pairs: the interface of a weight matrix between queries and keys; Dense: one that is stored in full."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from mmcl.arguments import require_tensors
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_finite_tensors, checks_values, poisoned

_HIGHEST = 1e18  # sums of larger weights can overflow float32


class Pairs(ABC):
    """A weight matrix W >= 0 of shape ``(queries, keys)``: W_ij is the weight of key j for query i."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Shape ``(queries, keys)``."""

    @property
    def diagonal(self) -> int | None:
        """Column offset if W is a shifted identity, else None."""
        return None

    @property
    def materialized(self) -> Tensor | None:
        """W as a tensor ``(queries, keys)`` if it is stored in full, else None."""
        return None

    @abstractmethod
    def matmul(self, keys: Tensor) -> Tensor:
        """Return ``W keys``, ``(queries, dim)``."""

    @abstractmethod
    def transposed_matmul(self, queries: Tensor) -> Tensor:
        """Return ``W^T queries``, ``(keys, dim)``."""

    @abstractmethod
    def gathered(self, processes: Processes) -> Pairs:
        """Return W for the queries of this process and the keys of all processes."""

    def row_sums(self, like: Tensor) -> Tensor:
        """Return the sum of each row, ``(queries,)``, with the dtype and device of ``like``."""
        return self.matmul(like.new_ones(self.shape[1], 1)).squeeze(1)

    def column_sums(self, like: Tensor) -> Tensor:
        """Return the sum of each column, ``(keys,)``, with the dtype and device of ``like``."""
        return self.transposed_matmul(like.new_ones(self.shape[0], 1)).squeeze(1)

    def row_dots(self, queries: Tensor, keys: Tensor, similarities: Tensor | None = None) -> Tensor:
        """Return ``sum_j W_ij <q_i, k_j>`` for each query, ``(queries,)``.

        Args:
            queries: ``(queries, dim)``.
            keys: ``(keys, dim)``.
            similarities: ``queries keys^T``, if known. With a stored W they save a product with features.
        """
        if similarities is not None and self.materialized is not None:
            return (self.materialized.to(similarities.dtype) * similarities).sum(1)
        return (queries * self.matmul(keys)).sum(1)

    def column_dots(self, queries: Tensor, keys: Tensor, similarities: Tensor | None = None) -> Tensor:
        """Return ``sum_i W_ij <q_i, k_j>`` for each key, ``(keys,)``; arguments as :meth:`row_dots`."""
        if similarities is not None and self.materialized is not None:
            return (self.materialized.to(similarities.dtype) * similarities).sum(0)
        return (self.transposed_matmul(queries) * keys).sum(1)

    def dense(self, like: Tensor) -> Tensor:
        """Return W as a tensor ``(queries, keys)``, with the dtype and device of ``like``."""
        return self.matmul(torch.eye(self.shape[1], dtype=like.dtype, device=like.device))

    def scaled(self, factors: Tensor) -> Pairs:
        """Return W with each row multiplied by its factor, ``(queries,)``."""
        return _Scaled(self, factors)


@dataclass(frozen=True, eq=False)
class _Scaled(Pairs):
    pairs: Pairs
    factors: Tensor

    def __post_init__(self) -> None:
        if tuple(self.factors.shape) != self.pairs.shape[:1]:
            raise ShapeError(
                f"factors have shape {tuple(self.factors.shape)}, expected one per query, ({self.pairs.shape[0]},)"
            )
        check_finite_tensors(factors=self.factors)

    @property
    def shape(self) -> tuple[int, int]:
        return self.pairs.shape

    def matmul(self, keys: Tensor) -> Tensor:
        return self.factors.to(keys.dtype)[:, None] * self.pairs.matmul(keys)

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        return self.pairs.transposed_matmul(self.factors.to(queries.dtype)[:, None] * queries)

    def gathered(self, processes: Processes) -> Pairs:
        return _Scaled(self.pairs.gathered(processes), self.factors)


@dataclass(frozen=True, eq=False)
class Dense(Pairs):
    """A weight matrix that is stored in full.

    Args:
        matrix: ``(queries, keys)``, boolean or non-negative; with ``gather``, the keys are those of all processes.
        name: name of the matrix in errors.

    Raises:
        ShapeError: not two dimensions.
        InputError: not a tensor of real numbers, negative, above 1e18, or all zero. A boolean mask may be all False,
            because a batch may have no positive pair. On devices whose values are not checked at once, invalid weights
            make the loss NaN; the check needs a copy of the matrix there, except of a boolean one.

    >>> Dense(torch.tensor([[0.0, 2.0]])).row_sums(torch.zeros(1))
    tensor([2.])
    """

    matrix: Tensor
    name: str = "weights"

    def __post_init__(self) -> None:
        require_tensors(**{self.name: self.matrix})
        if self.matrix.is_complex():
            raise InputError(f"{self.name} is of type {self.matrix.dtype}, expected real numbers or booleans")
        if self.matrix.dim() != 2:
            raise ShapeError(f"{self.name} has shape {tuple(self.matrix.shape)}, expected (queries, keys)")
        if self.matrix.dtype == torch.bool or not self.matrix.numel():
            return
        checked = checks_values(self.matrix)
        if not self.matrix.is_floating_point():
            object.__setattr__(self, "matrix", self.matrix.long() if checked else self.matrix.float())
        low, high = self.matrix.detach().aminmax()
        if not checked:
            valid = (low >= 0) & (high > 0) & (high.float() <= _HIGHEST)
            object.__setattr__(self, "matrix", poisoned(self.matrix, valid))
        elif not (low >= 0 and float(high) <= _HIGHEST):
            raise InputError(
                f"{self.name} has values from {float(low)} to {float(high)}, expected finite numbers from 0 to "
                f"{_HIGHEST:g}"
            )
        elif high == 0:
            raise InputError(
                f"{self.name} {tuple(self.matrix.shape)} is all zero, expected positive values; if a batch may have no "
                "pairs, pass a boolean mask or SameLabel"
            )

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def matmul(self, keys: Tensor) -> Tensor:
        return self.matrix.to(keys.dtype) @ keys

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        return self.matrix.T.to(queries.dtype) @ queries

    def dense(self, like: Tensor) -> Tensor:
        return self.matrix.to(like)

    @property
    def materialized(self) -> Tensor:
        return self.matrix

    def gathered(self, processes: Processes) -> Dense:
        return self

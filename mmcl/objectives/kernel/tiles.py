"""Tiles of a similarity matrix, computed one at a time to bound memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from mmcl.errors import InputError, TrainingError
from mmcl.objectives.kernel.inputs import checks_values

#: Rows and columns of a tile. Larger tiles are no faster on a CPU, smaller tiles need more calls.
TILE = {"cpu": 512}
TILE_ELSEWHERE = 4096


@dataclass(frozen=True)
class Compared:
    """Denominator N: pairs with equal labels, with different labels where ``differ``, or a matrix; else all pairs.

    Args:
        labels: labels of the queries, ``(queries,)``, or None.
        key_labels: labels of the keys, ``(keys,)``.
        differ: whether a key counts for queries with a different label, boolean ``(keys,)``.
        matrix: weights ``(queries, keys)``, boolean or non-negative, or None.
    """

    labels: Tensor | None = None
    key_labels: Tensor | None = None
    differ: Tensor | None = None
    matrix: Tensor | None = None

    def apply(self, similarities: Tensor, rows: slice, columns: slice) -> Tensor:
        """Add log N to a tile of similarities in place; pairs that do not count become minus infinity."""
        if self.labels is not None and self.key_labels is not None and self.differ is not None:
            same = self.labels[rows, None] == self.key_labels[columns]
            similarities.masked_fill_(same == self.differ[columns], -torch.inf)
        elif self.matrix is not None:
            similarities.add_(log_weights(self.matrix[rows, columns], similarities.dtype))
        return similarities


def log_weights(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the logarithm of weights, minus infinity for zero.

    >>> log_weights(torch.tensor([[True, False]]), torch.float32)
    tensor([[0., -inf]])
    """
    return matrix.to(dtype).log()


def tile_size(device: torch.device, block_size: int | None) -> int:
    """Return the number of rows and columns of a tile, by default depending on the device.

    Raises:
        InputError: ``block_size`` is not an integer of 1 or more.

    >>> tile_size(torch.device("cpu"), 7)
    7
    """
    if block_size is None:
        return TILE.get(device.type, TILE_ELSEWHERE)
    if isinstance(block_size, bool) or not isinstance(block_size, Integral) or block_size < 1:
        raise InputError(f"block_size is {block_size!r}, expected an integer of 1 or more, or None for automatic")
    return int(block_size)


def empty_slopes(total: Tensor, tensors: Sequence[Tensor], wanted: Sequence[bool]) -> tuple[Tensor, ...]:
    """Return empty results of a tiled pass: its total, and the gradient of each tensor that is wanted."""
    slopes = (
        torch.empty_like(one) if needed else one.new_empty(0) for one, needed in zip(tensors, wanted, strict=True)
    )
    return torch.empty_like(total), *slopes


def remember_slopes(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    """Keep the gradients that a tiled pass computed with its total; the last input says which are wanted."""
    ctx.wanted = inputs[-1]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def scaled_slopes(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    """Return the gradients kept by :func:`remember_slopes`, times that of the total.

    Raises:
        TrainingError: backward was called with ``create_graph=True``.
    """
    refuse_second_derivative()
    found = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    return tuple(gradient * slope if needed and gradient is not None else None for slope, needed in found)


def refuse_second_derivative() -> None:
    """Check that a tiled backward pass is not asked to create a graph, because it cannot be differentiated again.

    Raises:
        TrainingError: backward was called with ``create_graph=True``.

    >>> with torch.no_grad():
    ...     refuse_second_derivative()
    """
    if torch.is_grad_enabled():
        raise TrainingError(
            "blockwise objectives have no second derivative, which create_graph=True needs: "
            "set block_size to the batch size or more for the dense path"
        )


def tiles(
    queries: Tensor, keys: Tensor | None, compared: Compared | None, size: int
) -> Iterator[tuple[slice, slice, Tensor]]:
    """Iterate over the tiles of ``queries keys^T``. All tiles share one buffer.

    Tiles without counting pairs are skipped. Without ``keys`` the matrix is ``queries queries^T``, which is symmetric:
    only tiles on and to the right of the diagonal are computed.

    Args:
        queries: ``(queries, dim)``.
        keys: ``(keys, dim)`` or None.
        compared: pairs that count; None for all.
        size: rows and columns of a tile.

    Yields:
        The rows, the columns and the values of a tile.
    """
    against = queries if keys is None else keys
    rule = _Rule(compared, size) if compared is not None else None
    buffer = queries.new_empty(min(size, len(queries)) * min(size, len(against)))
    for top in range(0, len(queries), size):
        rows = slice(top, min(top + size, len(queries)))
        for left in range(top if keys is None else 0, len(against), size):
            columns = slice(left, min(left + size, len(against)))
            counts = rule.counts(top // size, left // size) if rule else "all"
            if counts == "none":
                continue
            height, width = rows.stop - top, columns.stop - left
            tile = buffer[: height * width].view(height, width)
            torch.mm(queries[rows], against[columns].T, out=tile)
            if counts == "some" and compared is not None:
                compared.apply(tile, rows, columns)
            yield rows, columns, tile


class _Rule:
    """Decide per tile which pairs count, from the range of labels of its rows and columns.

    Most tiles then need no mask. For example, excluding the diagonal masks only the tiles on the diagonal. Off the CPU
    all tiles are masked, because reading the ranges would wait for the device.
    """

    def __init__(self, compared: Compared, size: int) -> None:
        self.labels = compared.labels is not None and checks_values(compared.labels)
        if not self.labels:
            return
        if compared.labels is not None and compared.key_labels is not None and compared.differ is not None:
            self.rows = _bounds(compared.labels, size)
            self.columns = _bounds(compared.key_labels, size)
            self.differ = _bounds(compared.differ.long(), size)

    def counts(self, row: int, column: int) -> str:
        if self.labels:
            (low, high), (key_low, key_high) = self.rows[row], self.columns[column]
            apart = high < key_low or key_high < low
            if apart and self.differ[column] == (0, 0):
                return "none"
            if apart and self.differ[column] == (1, 1):
                return "all"
        return "some"


def _bounds(labels: Tensor, size: int) -> list[tuple[int, int]]:
    if not len(labels):
        return []
    parts = [torch.stack(part.aminmax()) for part in labels.split(size)]
    return [(low, high) for low, high in torch.stack(parts).tolist()]

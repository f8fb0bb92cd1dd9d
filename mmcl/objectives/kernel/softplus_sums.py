"""SoftplusSums: sums of softplus over many centres, as a piecewise polynomial that is evaluated in constant time."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmcl.objectives.kernel.inputs import checks_values
from mmcl.objectives.kernel.row_blocks import sum_of_blocks
from mmcl.objectives.kernel.tiles import empty_slopes, remember_slopes, scaled_slopes, tile_size, tiles
from mmcl.objectives.temperature import HIGHEST

_MARGIN = 30.0  # softplus(-30) is 1e-13
_STEPS = {torch.float32: 1 / 8, torch.float64: 1 / 16}
_CELLS, _MOST_CELLS = 4096, 16384  # where values are not read; where they are


class SoftplusSums(NamedTuple):
    """The function ``F(x) = sum_i softplus(x - c_i)`` of centres c, as a polynomial in each of many equal cells.

    F at each of n points costs O(n + centres), where all pairs are O(n centres). The polynomials have degree 5 and
    share F, F' and F'' at the ends of cells. Their error is 1e-10 for each centre in float32 and 1e-12 in float64, for
    cells of width 1/8 and 1/16. It is relative to softplus where x is far below the centres. There are 16384 cells at
    most, and always 4096 where values are not read. Where x and the centres span more than 1000, cells are wider: the
    error is 1e-7 for a width of 1/2, and details smaller than a cell are lost for a width above 1.

    Args:
        low: start of the first cell, 30 below the lowest centre. F is 0 up to 1e-13 for each centre below.
        step: width of a cell.
        coefficients: of the powers 0 to 5 of the place in the cell, ``(6, cells)``, with gradient.

    >>> sums = SoftplusSums.of(torch.tensor([0.0, 1.0]), 5.0)
    >>> x = torch.tensor([[0.0], [1.0]])
    >>> sums.of_products(torch.ones(1, 1), x, own=0)  # log(1 + e) + log 2, at x = 1
    tensor(2.0064)
    """

    low: Tensor
    step: Tensor
    coefficients: Tensor

    @classmethod
    def of(cls, centres: Tensor, highest: float | Tensor, block_size: int | None = None) -> SoftplusSums:
        """Compute the polynomials of some centres.

        Args:
            centres: one or more, ``(centres,)``, float32 or float64.
            highest: the largest x, at least the largest centre.
            block_size: number of centres of a block; None for automatic.
        """
        with torch.no_grad():
            low = centres.min() - _MARGIN
            span = (highest - low).clamp(_MARGIN, HIGHEST).to(centres.dtype)
            cells = _CELLS
            if checks_values(centres):
                cells = math.ceil(min(float(span) / _STEPS[centres.dtype], _MOST_CELLS))
            step = span / cells
            # Differences of large sums need float64. The curvature of wide cells would be that of single points.
            nodes = low.double() + step.double() * torch.arange(cells + 1, device=low.device)
            curved = (step <= 1).double()
        width = step.double()
        sums = sum_of_blocks(_sums, [centres.double()], [nodes], block_size)
        value, slope, bend = sums.view(3, -1)
        slope, bend = slope * width, bend * (curved * width.square())
        (slope, end_slope), (bend, end_bend) = (slope[:-1], slope[1:]), (bend[:-1], bend[1:])
        start, rise = value[:-1], value.diff()
        powers = [
            start,
            slope,
            bend / 2,
            10 * rise - 6 * slope - 4 * end_slope - 1.5 * bend + 0.5 * end_bend,
            -15 * rise + 8 * slope + 7 * end_slope + 1.5 * bend - end_bend,
            6 * rise - 3 * slope - 3 * end_slope - 0.5 * bend + 0.5 * end_bend,
        ]
        return cls(low, step, torch.stack(powers).to(centres.dtype))

    def of_products(self, queries: Tensor, keys: Tensor, own: int, block_size: int | None = None) -> Tensor:
        """Return the sum of F over the products of queries with all keys but their own.

        The gradient of a tile of products does not depend on other tiles, so that one pass computes sum and gradient.

        Args:
            queries, keys: ``(queries, dim)`` and ``(keys, dim)``, in the type of the centres.
            own: column of the first query's own key; that of the next query follows.
            block_size: rows and columns of a tile; None for automatic.

        Raises:
            TrainingError: a second derivative.
        """
        wanted = [torch.is_grad_enabled() and each.requires_grad for each in (queries, keys, self.coefficients)]
        size = tile_size(queries.device, block_size)
        return torch.ops.mmcl.softplus_sums(queries, keys, *self, own, size, wanted)[0]


def _sums(start: int, centres: Tensor, nodes: Tensor) -> Tensor:
    """Return sums over centres of softplus and its first and second derivative, at all nodes, ``(3 * nodes,)``."""
    logits = nodes - centres[:, None]
    slopes = logits.sigmoid()
    values = torch.nn.functional.softplus(logits, threshold=2 * _MARGIN)
    return torch.cat([values.sum(0), slopes.sum(0), (slopes * (1 - slopes)).sum(0)])


torch.library.define(
    "mmcl::softplus_sums",
    "(Tensor queries, Tensor keys, Tensor low, Tensor step, Tensor coefficients, int own, int size, bool[] wanted) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
)


@torch.library.impl("mmcl::softplus_sums", "CompositeExplicitAutograd")
def _forward(queries, keys, low, step, coefficients, own, size, wanted):  # type: ignore[no-untyped-def]
    of_queries, of_keys, of_coefficients = (
        torch.zeros_like(one) if needed else one.new_empty(0)
        for one, needed in zip((queries, keys, coefficients), wanted, strict=True)
    )
    total, inverse = low.new_zeros(()), 1 / step
    count = min(size, len(queries)) * min(size, len(keys))
    room, all_cells = queries.new_empty(3, count), torch.empty(count, dtype=torch.long, device=queries.device)
    for row, column, tile in tiles(queries, keys, None, size):
        offset = own + row.start - column.start
        if -tile.shape[0] < offset < tile.shape[1]:
            tile.diagonal(offset).fill_(-torch.inf)
        places = tile.view(-1).sub_(low).mul_(inverse).clamp_(min=0)
        cells = all_cells[: len(places)].copy_(places).clamp_(0, coefficients.shape[1] - 1)
        places.sub_(cells)
        values, slopes, power = room[:, : len(places)]
        _evaluate(coefficients, cells, places, values, slopes, power)
        total += values.sum()
        if wanted[2]:
            power.fill_(1)
            for moments in of_coefficients:
                moments.scatter_add_(0, cells, power)
                power.mul_(places)
        slopes = slopes.mul_(inverse).view_as(tile)
        if wanted[0]:
            of_queries[row].addmm_(slopes, keys[column])
        if wanted[1]:
            of_keys[column].addmm_(slopes.T, queries[row])
    return total, of_queries, of_keys, of_coefficients


def _evaluate(
    coefficients: Tensor, cells: Tensor, places: Tensor, values: Tensor, slopes: Tensor, power: Tensor
) -> None:
    """Write polynomials at places in cells, and their derivatives by place, by Horner's rule."""
    torch.index_select(coefficients[-1], 0, cells, out=values)
    slopes.zero_()
    for each in coefficients[:-1].flip(0):
        slopes.mul_(places).add_(values)
        torch.index_select(each, 0, cells, out=power)
        torch.addcmul(power, values, places, out=values)


@torch.library.register_fake("mmcl::softplus_sums")
def _(queries, keys, low, step, coefficients, own, size, wanted):  # type: ignore[no-untyped-def]
    return empty_slopes(low, (queries, keys, coefficients), wanted)


def _differentiate(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    of_queries, of_keys, of_coefficients = scaled_slopes(ctx, gradient)
    return of_queries, of_keys, None, None, of_coefficients, None, None, None


torch.library.register_autograd("mmcl::softplus_sums", _differentiate, setup_context=remember_slopes)

"""Objectives on a GPU: strips of similarities, whose products are the library's and all else one Triton kernel.

A strip holds the products of some queries with all keys in float32. Products take the rows in the precision of the
inputs, so that half-precision inputs are not rounded a second time; the slopes are rounded once for the backward
products. Where Triton is not available, the plain path of :mod:`mmcl.objectives.kernel.tiles` is used.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from mmcl.errors import InputError
from mmcl.objectives.kernel.products import Products, finish_rows, part
from mmcl.objectives.kernel.tiles import Compared

_STRIP_BYTES, _MIN_ROWS = 96 * 2**20, 1536  # fewer rows would add to the keys' gradients too often
_BLOCK, _STEPS, _MERGED = 64, 8, 32  # sides of a tile, tiles of a program, rows of a program that merges
_BOOST = 2.0**14  # the largest slope in float16, whose small numbers would be lost otherwise


def logsumexp(
    products: Products, rule: Compared, columns: bool, diagonal: int, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logsumexp of rows, of columns, and the diagonal; see :func:`pairwise_logsumexp`."""
    from mmcl.objectives.kernel.triton_strips import merge_sums, strip_sums

    count, keys = products.queries.shape[0], products.against.shape[0]
    symmetric = products.keys is None
    logs = torch.empty(count, device=products.queries.device)
    column_logs, own = logs.new_empty(keys if columns else 0), logs.new_empty(0 if diagonal < 0 else count)
    highest, total = (logs.new_empty(keys if columns or symmetric else 0) for _ in range(2))
    for strip in _strips(products, rule, size):
        rows, right, height, width = strip.rows, strip.columns, *strip.products.shape
        row_parts = logs.new_empty(2, -(-width // (_BLOCK * _STEPS)), height)
        column_parts = logs.new_empty(2, -(-height // _BLOCK), width if columns or symmetric else 0)
        strip_sums[(column_parts.shape[1], row_parts.shape[1])](
            *strip.arguments, row_parts, column_parts, own[rows], diagonal + rows.start, right.start, keys,
            height, width, **strip.kinds, COLUMNS=columns or symmetric, OWN=diagonal >= 0, STEPS=_STEPS,
            HEIGHT=_BLOCK, WIDTH=_BLOCK, num_warps=8,
        )  # fmt: skip
        # By symmetry, a strip's columns beyond its own rows are rows of later strips.
        start = height if symmetric else 0
        merged = slice(right.start + start, right.stop) if columns or symmetric else slice(0, 0)
        row_programs, column_programs = -(-height // _MERGED), -(-(merged.stop - merged.start) // _MERGED)
        first, last = rows.start == 0, rows.stop == count
        merge_sums[(row_programs + column_programs,)](
            row_parts, row_parts.shape[1], height, highest[rows], total[rows], logs[rows],
            column_parts, column_parts.shape[1], start, merged.stop - merged.start,
            highest[merged], total[merged], column_logs[merged], row_programs,
            ROWS_NEW=first or not symmetric, COLUMNS_NEW=first, COLUMNS_DONE=last and columns,
            ROW_BLOCKS=_power_of_two(row_parts.shape[1]), COLUMN_BLOCKS=_power_of_two(column_parts.shape[1]),
            SIZE=_MERGED,
        )  # fmt: skip
    return logs, column_logs, _mirrored(own) if symmetric and diagonal >= 0 else own


def logsumexp_backward(
    products: Products,
    rule: Compared,
    logs: tuple[Tensor, Tensor],
    slopes: tuple[Tensor | None, Tensor | None, Tensor | None],
    diagonal: int,
    size: int,
    wanted: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the similarities' factors, empty if not wanted.

    Args:
        logs: logsumexp of rows and of columns.
        slopes: gradients of the logsumexp of rows, of that of columns, and of the diagonal.
    """
    from mmcl.objectives.kernel.triton_strips import strip_slopes

    of_rows, of_columns, of_own = (None if each is None else each.contiguous() for each in slopes)
    symmetric, like = products.keys is None, logs[0]
    of_queries = torch.empty(products.queries.shape if wanted[0] else 0, device=like.device)
    of_keys = torch.empty(products.against.shape if wanted[1] and not symmetric else 0, device=like.device)
    boost = _boost(products, of_rows, of_rows if symmetric else of_columns)
    own = like.new_empty(logs[0].shape[0] if diagonal >= 0 else 0)
    gradients = (of_queries, of_queries) if symmetric else (of_queries, of_keys)
    for strip in _strips(products, rule, size, with_slopes=True):
        rows, right = strip.rows, strip.columns
        column_logs, column_slopes = (logs[0], of_rows) if symmetric else (logs[1], of_columns)
        strip_slopes[strip.blocks](
            *strip.arguments, logs[0][rows], part(of_rows, rows), column_logs[right], part(column_slopes, right),
            boost, strip.slopes, own[rows], diagonal + rows.start, right.start, products.against.shape[0],
            *strip.products.shape, **strip.kinds, ROWS=of_rows is not None, COLUMNS=column_slopes is not None,
            BOOSTED=boost is not None, OWN=diagonal >= 0, HEIGHT=_BLOCK, WIDTH=_BLOCK, num_warps=8,
        )  # fmt: skip
        _add_products(strip, products, gradients, wanted)
    if diagonal >= 0 and symmetric:
        own = _mirrored(own)
        own = own if of_own is None else own + of_own + of_own.roll(own.shape[0] // 2)
    elif diagonal >= 0 and of_own is not None:
        own = own + of_own
    _finish(products, gradients, boost, own, diagonal, wanted)
    return of_queries, of_keys


def _mirrored(own: Tensor) -> Tensor:
    """Return values of pairs of the first half of rows with the second, for both of them."""
    return own[: own.shape[0] // 2].repeat(2)


def sigmoid(
    products: Products, bias: Tensor, diagonal: int, size: int, wanted: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return SigLIP's loss and its gradients of queries, keys and bias, empty if not wanted."""
    from mmcl.objectives.kernel.triton_strips import strip_sigmoids

    of_queries, of_keys = (
        torch.empty(side.shape if needed else 0, device=bias.device)
        for side, needed in zip((products.queries, products.against), wanted, strict=False)
    )
    boost = _boost(products, bias.new_ones(()))
    total, own = bias.new_zeros(2), bias.new_empty(products.queries.shape[0])
    for strip in _strips(products, Compared(), size, with_slopes=True):
        parts = bias.new_empty(2, strip.blocks[0] * strip.blocks[1])
        strip_sigmoids[strip.blocks](
            *strip.arguments[:3], bias, boost, strip.slopes, own[strip.rows], parts, diagonal + strip.rows.start,
            *strip.products.shape, SCALED=strip.kinds["SCALED"], BOOSTED=boost is not None,
            SLOPES=wanted[0] or wanted[1], HEIGHT=_BLOCK, WIDTH=_BLOCK, num_warps=8,
        )  # fmt: skip
        total += parts.sum(1)
        _add_products(strip, products, (of_queries, of_keys), (wanted[0], wanted[1]))
    _finish(products, (of_queries, of_keys), boost, own, diagonal, (wanted[0], wanted[1]))
    return total[0], of_queries, of_keys, total[1] if wanted[2] else bias.new_empty(0)


class _Strip(NamedTuple):
    rows: slice
    columns: slice
    products: Tensor  # (rows, columns)
    slopes: Tensor  # (rows, columns), in the type of the products' factors; empty if not wanted
    arguments: tuple[Tensor | int | None, ...]  # first arguments of each kernel
    kinds: dict[str, int]

    @property
    def blocks(self) -> tuple[int, int]:
        return -(-self.products.shape[0] // _BLOCK), -(-self.products.shape[1] // _BLOCK)


def _strips(products: Products, rule: Compared, size: int, *, with_slopes: bool = False) -> Iterator[_Strip]:
    queries, keys, symmetric = products.queries, products.against, products.keys is None
    rows = size or _rows_that_fit(queries.device, queries.shape[0], keys.shape[0])
    matrix = None if rule.matrix is None else rule.matrix.contiguous()
    if matrix is not None and matrix.dtype == torch.bool:
        matrix = matrix.view(torch.uint8)
    labels, key_labels, differ = (
        None if each is None else each.contiguous() for each in (rule.labels, rule.key_labels, rule.differ)
    )
    differ = None if differ is None else differ.view(torch.uint8)
    kind = 1 if labels is not None else 2 if matrix is not None else 0
    kinds = {"SCALED": int(products.query_scale is not None), "RULE": kind}
    buffers = _buffers(queries, min(rows, queries.shape[0]), keys.shape[0], with_slopes)
    for top in range(0, queries.shape[0], rows):
        own = slice(top, min(top + rows, queries.shape[0]))
        right = slice(top if symmetric else 0, keys.shape[0])
        shape = (own.stop - top, right.stop - right.start)
        strip, slopes = (buffer[: shape[0] * shape[1]].view(shape) if len(buffer) else buffer for buffer in buffers)
        _multiply(queries[own], keys[right].T, strip)
        arguments = (
            strip, part(products.query_scale, own), part(products.against_scale, right), part(labels, own),
            part(key_labels, right), part(differ, right), None if matrix is None else matrix[own, right],
            0 if matrix is None else matrix.stride(0),
        )  # fmt: skip
        yield _Strip(own, right, strip, slopes, arguments, kinds)


def _buffers(queries: Tensor, rows: int, keys: int, with_slopes: bool) -> tuple[Tensor, Tensor]:
    try:
        strip = torch.empty(rows * keys, device=queries.device)
        if queries.dtype == torch.float32:
            return strip, strip if with_slopes else strip.new_empty(0)
        return strip, torch.empty_like(strip, dtype=queries.dtype) if with_slopes else queries.new_empty(0)
    except torch.OutOfMemoryError:
        free = torch.cuda.mem_get_info(queries.device)[0] / 2**20
        raise InputError(
            f"similarities of {rows} queries with {keys} keys need {rows * keys * 6 / 2**20:.0f} MiB, {free:.0f} MiB "
            "of the device are free: set block_size to fewer rows, or use a smaller batch"
        ) from None


@functools.lru_cache(maxsize=256)
def _rows_that_fit(device: torch.device, queries: int, keys: int) -> int:
    """Return the number of rows of a strip, a quarter of the free memory at most."""
    size = max(_STRIP_BYTES, 6 * keys * _MIN_ROWS)
    if device.type == "cuda" and not torch.cuda.is_current_stream_capturing():
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        size = min(size, max((torch.cuda.mem_get_info(device)[0] + cached) // 4, 2**20))
    rows = max(_BLOCK, size // (6 * keys))
    strips = -(-queries // rows)
    even = -(-queries // strips)
    return -(-even // _BLOCK) * _BLOCK


def _power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()


def _boost(products: Products, *slopes: Tensor | None) -> Tensor | None:
    """Return the factor that keeps slopes within the range of float16; None for other types.

    Args:
        products: factors of the similarities.
        slopes: bounds of the derivatives with respect to similarities.
    """
    if products.queries.dtype != torch.float16:
        return None
    largest = torch.stack([each.abs().amax() for each in slopes if each is not None]).sum()
    for scale in (products.query_scale, products.against_scale):
        largest = largest if scale is None else largest * scale.amax()
    return _BOOST / torch.where(largest > 0, largest, 1)


def _add_products(
    strip: _Strip, products: Products, gradients: tuple[Tensor, Tensor], wanted: tuple[bool, bool]
) -> None:
    """Add ``slopes keys`` to the queries' gradients, and ``slopes^T queries`` to those of the keys."""
    of_queries, of_keys = gradients
    rows, right = strip.rows, strip.columns
    if products.keys is None:  # each product stands for two, except those among the strip's own rows
        beyond = slice(rows.stop, right.stop)
        _multiply(strip.slopes, products.queries[right], of_queries[rows], add=rows.start > 0)
        if beyond.start < beyond.stop:
            right_slopes = strip.slopes[:, rows.stop - right.start :].T
            _multiply(right_slopes, products.queries[rows], of_queries[beyond], add=rows.start > 0)
        return
    if wanted[0]:
        _multiply(strip.slopes, products.keys, of_queries[rows])
    if wanted[1]:
        _multiply(strip.slopes.T, products.queries[rows], of_keys, add=rows.start > 0)


def _multiply(left: Tensor, right: Tensor, out: Tensor, *, add: bool = False) -> None:
    """Compute ``out = left right``, or ``out += left right``, with sums in float32."""
    if left.dtype == torch.float32:
        _ = torch.addmm(out, left, right, out=out) if add else torch.mm(left, right, out=out)
    elif left.is_cuda:
        aten = torch.ops.aten
        _ = (
            aten.addmm.dtype_out(out, left, right, torch.float32, out=out)
            if add
            else aten.mm.dtype_out(left, right, torch.float32, out=out)
        )
    else:  # Triton's interpreter
        _multiply(left.float(), right.float(), out, add=add)


def _finish(
    products: Products,
    gradients: tuple[Tensor, Tensor],
    boost: Tensor | None,
    own: Tensor,
    diagonal: int,
    wanted: tuple[bool, bool],
) -> None:
    """Undo scales in the gradients, and add the gradients of the pairs of rows with their partners."""
    queries, keys = (products.queries, products.query_scale), (products.against, products.against_scale)
    count, half = products.queries.shape[0], products.queries.shape[0] // 2
    if products.keys is None and diagonal >= 0:
        for place, partner in ((slice(0, half), slice(half, count)), (slice(half, count), slice(0, half))):
            finish_rows(gradients[0], queries, place, boost, own[place], queries, partner)
        return
    partner = slice(diagonal, diagonal + count) if diagonal >= 0 else slice(0, 0)
    if wanted[0]:
        finish_rows(gradients[0], queries, slice(0, count), boost, own, keys, partner)
    if wanted[1] and products.keys is not None:
        for place in (slice(0, partner.start), slice(partner.stop, keys[0].shape[0])):
            finish_rows(gradients[1], keys, place, boost, own[:0], queries, slice(0, 0))
        finish_rows(gradients[1], keys, partner, boost, own, queries, slice(0, count))

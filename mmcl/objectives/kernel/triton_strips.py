"""Triton kernels that read each similarity of a strip once.

A strip holds the products of some queries with all keys in float32, ``(rows, columns)``. A kernel reads each product
once and applies scales, the denominator and the softmax to it. Only :mod:`mmcl.objectives.kernel.strips` calls these.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

LOWEST = tl.constexpr(-8.5e37)  # not infinity, because inf - inf is NaN

ALL, LABELS, MATRIX = (tl.constexpr(rule) for rule in range(3))  # kinds of denominators


@triton.jit
def _similarities(
    strip, row_scale, column_scale, labels, key_labels, differ, matrix, matrix_stride, i, j, rows, columns,
    SCALED: tl.constexpr, RULE: tl.constexpr,
):  # fmt: skip
    """Return a tile of similarities, and the same plus log N; minus infinity outside of the strip."""
    row_inside, column_inside = i < rows, j < columns
    inside = row_inside[:, None] & column_inside[None, :]
    row = i.to(tl.int64)[:, None]
    s = tl.load(strip + row * columns + j[None, :], mask=inside, other=float("-inf"))
    if SCALED:
        s *= tl.load(row_scale + i, mask=row_inside, other=1.0)[:, None]
        s *= tl.load(column_scale + j, mask=column_inside, other=1.0)[None, :]
    raw = s
    if RULE == LABELS:
        own = tl.load(labels + i, mask=row_inside, other=0)
        same = own[:, None] == tl.load(key_labels + j, mask=column_inside, other=0)[None, :]
        differs = tl.load(differ + j, mask=column_inside, other=0) != 0
        s = tl.where(same == differs[None, :], float("-inf"), s)
    elif RULE == MATRIX:
        weights = tl.load(matrix + row * matrix_stride + j[None, :], mask=inside, other=0).to(tl.float32)
        s += tl.log(weights)
    return raw, s


@triton.jit
def _partners(i, j, rows, columns, place, left, keys):
    """Return which elements are pairs of a row ``i`` with key ``(place + i) mod keys``; ``left`` is the first key."""
    return ((j + left)[None, :] == ((place + i) % keys)[:, None]) & (i < rows)[:, None] & (j < columns)[None, :]


@triton.jit
def _store_partners(own, values, i, partners):
    tl.store(own + i[:, None] + tl.zeros(partners.shape, tl.int32), values, mask=partners)


@triton.jit
def strip_sums(
    strip, row_scale, column_scale, labels, key_labels, differ, matrix, matrix_stride, row_parts, column_parts,
    own, place, left, keys, rows, columns,
    SCALED: tl.constexpr, RULE: tl.constexpr, COLUMNS: tl.constexpr, OWN: tl.constexpr, STEPS: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    """Write maximum and sum of exponentials of a block's rows, ``(2, blocks, rows)``, and of its columns likewise.

    Also write the similarity of each row with its partner.
    """
    i = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    highest = tl.full((HEIGHT,), LOWEST, tl.float32)
    total = tl.zeros((HEIGHT,), tl.float32)
    for step in range(STEPS):
        j = (tl.program_id(1) * STEPS + step) * WIDTH + tl.arange(0, WIDTH)
        raw, s = _similarities(
            strip, row_scale, column_scale, labels, key_labels, differ, matrix, matrix_stride, i, j, rows, columns,
            SCALED, RULE,
        )  # fmt: skip
        if OWN:
            _store_partners(own, raw, i, _partners(i, j, rows, columns, place, left, keys))
        higher = tl.maximum(highest, tl.max(s, 1))
        total = total * tl.exp(highest - higher) + tl.sum(tl.exp(s - higher[:, None]), 1)
        highest = higher
        if COLUMNS:
            key_highest = tl.maximum(tl.max(s, 0), LOWEST)
            key_total = tl.sum(tl.exp(s - key_highest[None, :]), 0)
            part = column_parts + tl.program_id(0) * columns + j
            tl.store(part, key_highest, mask=j < columns)
            tl.store(part + tl.num_programs(0) * columns, key_total, mask=j < columns)
    part = row_parts + tl.program_id(1) * rows + i
    tl.store(part, highest, mask=i < rows)
    tl.store(part + tl.num_programs(1) * rows, total, mask=i < rows)


@triton.jit
def _merge(
    parts, blocks, start, count, highest, total, logs, i,
    NEW: tl.constexpr, DONE: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Merge a strip's parts into the running maximum and sum; write their logarithm when done."""
    inside = i < count
    block = tl.arange(0, BLOCKS)
    place = parts + block[:, None] * (start + count) + start + i[None, :]
    given = (block < blocks)[:, None] & inside[None, :]
    part_tops = tl.load(place, mask=given, other=LOWEST)
    part_sums = tl.load(place + blocks * (start + count), mask=given, other=0.0)
    top = tl.max(part_tops, 0)
    if not NEW:
        before = tl.load(highest + i, mask=inside, other=LOWEST)
        top = tl.maximum(top, before)
    mass = tl.sum(part_sums * tl.exp(part_tops - top[None, :]), 0)
    if not NEW:
        mass += tl.load(total + i, mask=inside, other=0.0) * tl.exp(before - top)
    if DONE:
        tl.store(logs + i, top + tl.log(mass), mask=inside)
    else:
        tl.store(highest + i, top, mask=inside)
        tl.store(total + i, mass, mask=inside)


@triton.jit
def merge_sums(
    row_parts, row_blocks, rows, row_highest, row_total, row_logs,
    column_parts, column_blocks, start, columns, column_highest, column_total, column_logs, row_programs,
    ROWS_NEW: tl.constexpr, COLUMNS_NEW: tl.constexpr, COLUMNS_DONE: tl.constexpr,
    ROW_BLOCKS: tl.constexpr, COLUMN_BLOCKS: tl.constexpr, SIZE: tl.constexpr,
) -> None:  # fmt: skip
    """Merge the parts of rows, whose logsumexp is then known, and of the columns from ``start`` on."""
    program = tl.program_id(0)
    if program < row_programs:
        i = program * SIZE + tl.arange(0, SIZE)
        _merge(row_parts, row_blocks, 0, rows, row_highest, row_total, row_logs, i, ROWS_NEW, True, ROW_BLOCKS)
    else:
        i = (program - row_programs) * SIZE + tl.arange(0, SIZE)
        _merge(
            column_parts, column_blocks, start, columns, column_highest, column_total, column_logs, i,
            COLUMNS_NEW, COLUMNS_DONE, COLUMN_BLOCKS,
        )  # fmt: skip


@triton.jit
def strip_slopes(
    strip, row_scale, column_scale, labels, key_labels, differ, matrix, matrix_stride,
    row_logs, row_slopes, column_logs, column_slopes, boost, slopes,
    own, place, left, keys, rows, columns,
    SCALED: tl.constexpr, RULE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BOOSTED: tl.constexpr,
    OWN: tl.constexpr,
    HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    """Write the derivative with respect to each product, rounded once to the type of ``slopes``.

    That of a row with its partner is written to ``own`` in float32, and 0 to ``slopes``: it nearly cancels with the
    gradient of the positive pair, so that its rounding would be felt.
    """
    i = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    j = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    _, s = _similarities(
        strip, row_scale, column_scale, labels, key_labels, differ, matrix, matrix_stride, i, j, rows, columns,
        SCALED, RULE,
    )  # fmt: skip
    slope = tl.zeros((HEIGHT, WIDTH), tl.float32)
    # A row or column without compared pairs has the logarithm -inf: exp(-inf - 0) = 0 is its slope.
    if ROWS:
        logs = tl.load(row_logs + i, mask=i < rows, other=0.0)
        logs = tl.where(logs == float("-inf"), 0.0, logs)
        slope += tl.exp(s - logs[:, None]) * tl.load(row_slopes + i, mask=i < rows, other=0.0)[:, None]
    if COLUMNS:
        logs = tl.load(column_logs + j, mask=j < columns, other=0.0)
        logs = tl.where(logs == float("-inf"), 0.0, logs)
        slope += tl.exp(s - logs[None, :]) * tl.load(column_slopes + j, mask=j < columns, other=0.0)[None, :]
    if OWN:
        partners = _partners(i, j, rows, columns, place, left, keys)
        _store_partners(own, slope, i, partners)
        slope = tl.where(partners, 0.0, slope)
    _store_slopes(slope, row_scale, column_scale, boost, slopes, i, j, rows, columns, SCALED, BOOSTED)


@triton.jit
def _store_slopes(
    slope, row_scale, column_scale, boost, slopes, i, j, rows, columns, SCALED: tl.constexpr, BOOSTED: tl.constexpr
):
    if SCALED:
        slope *= tl.load(row_scale + i, mask=i < rows, other=0.0)[:, None]
        slope *= tl.load(column_scale + j, mask=j < columns, other=0.0)[None, :]
    if BOOSTED:
        slope *= tl.load(boost)
    place = slopes + i.to(tl.int64)[:, None] * columns + j[None, :]
    tl.store(place, slope.to(slopes.dtype.element_ty), mask=(i < rows)[:, None] & (j < columns)[None, :])


@triton.jit
def strip_sigmoids(
    strip, row_scale, column_scale, bias, boost, slopes, own, parts, place, rows, columns,
    SCALED: tl.constexpr, BOOSTED: tl.constexpr, SLOPES: tl.constexpr, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
) -> None:  # fmt: skip
    """Write a block's sum of -log sigmoid(z x) and of its derivatives, ``(2, blocks)``, and each derivative.

    z is 1 for a row's partner and -1 elsewhere, and x is the similarity plus the bias. The derivative of a row with its
    partner is written to ``own``, and 0 to ``slopes``.
    """
    i = tl.program_id(0) * HEIGHT + tl.arange(0, HEIGHT)
    j = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    s, _ = _similarities(
        strip, row_scale, column_scale, strip, strip, strip, strip, 0, i, j, rows, columns, SCALED, ALL
    )  # fmt: skip
    inside = (i < rows)[:, None] & (j < columns)[None, :]
    x = tl.where(inside, s, 0.0) + tl.load(bias)
    small = tl.exp(-tl.abs(x))
    one_more = 1.0 + small
    # log(1 + small) without the rounding of 1 + small (Goldberg 1991, theorem 4)
    log_one_more = tl.where(one_more == 1.0, small, small * tl.log(one_more) / tl.where(small > 0, one_more - 1.0, 1.0))
    partners = _partners(i, j, rows, columns, place, 0, columns)
    loss = tl.maximum(x, 0.0) + log_one_more - tl.where(partners, x, 0.0)
    up = tl.where(x >= 0, 1.0, small) / one_more
    down = tl.where(x >= 0, small, 1.0) / one_more  # 1 - up, without cancellation
    slope = tl.where(partners, -down, up)
    block = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    blocks = tl.num_programs(0) * tl.num_programs(1)
    tl.store(parts + block, tl.sum(tl.sum(tl.where(inside, loss, 0.0), 1), 0))
    tl.store(parts + blocks + block, tl.sum(tl.sum(tl.where(inside, slope, 0.0), 1), 0))
    if SLOPES:
        _store_partners(own, slope, i, partners)
        slope = tl.where(partners, 0.0, slope)
        _store_slopes(slope, row_scale, column_scale, boost, slopes, i, j, rows, columns, SCALED, BOOSTED)

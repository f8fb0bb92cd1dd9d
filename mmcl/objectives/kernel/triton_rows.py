"""Triton kernels that read each row of features once: unit length, its gradient, and the gradient of products.

Only :mod:`mmcl.objectives.kernel.products` and :mod:`mmcl.objectives.kernel.strips` call these.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, import-untyped"

from __future__ import annotations

import triton
import triton.language as tl

LARGEST = tl.constexpr(3.4028234663852886e38)


@triton.jit
def _normalized(rows, i, d, count, dim):
    """Return rows times a power of two that makes their squares safe, their norms (1 for zero rows), and the power."""
    inside = (i < count)[:, None] & (d < dim)[None, :]
    x = tl.load(rows + i.to(tl.int64)[:, None] * dim + d[None, :], mask=inside, other=0.0).to(tl.float32)
    largest = tl.max(tl.abs(x), 1)
    exponent = (largest.to(tl.int32, bitcast=True) >> 23) - 127
    power = (127 - tl.minimum(exponent, 126)) << 23
    factor = tl.where(largest == 0, 1.0, power.to(tl.float32, bitcast=True))
    x *= factor[:, None]
    norm = tl.sqrt(tl.sum(x * x, 1))
    return x, tl.where(norm == 0, 1.0, norm), factor, inside


@triton.jit
def _length(length, constant, i, count, LENGTH: tl.constexpr):
    if LENGTH == 0:
        return tl.full(i.shape, constant, tl.float32)
    if LENGTH == 1:
        return tl.full(i.shape, tl.load(length), tl.float32)
    return tl.load(length + i, mask=i < count, other=1.0)


@triton.jit
def unit_rows(
    rows, length, constant, values, product, scale, count, dim,
    LENGTH: tl.constexpr, PRODUCT: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
) -> None:  # fmt: skip
    """Write rows of a length in float32; rows in the type of products, and the scales that make them that long."""
    i, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    x, norm, _, inside = _normalized(rows, i, d, count, dim)
    ratio = _length(length, constant, i, count, LENGTH) / norm
    place = i.to(tl.int64)[:, None] * dim + d[None, :]
    tl.store(values + place, x * ratio[:, None], mask=inside)
    if PRODUCT:
        tl.store(product + place, x.to(product.dtype.element_ty), mask=inside)
        tl.store(scale + i, ratio, mask=i < count)


@triton.jit
def unit_rows_backward(
    gradient, rows, length, constant, result, along, count, dim,
    LENGTH: tl.constexpr, ALONG: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
) -> None:  # fmt: skip
    """Write the gradient of rows in their own type, and of their lengths."""
    i, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    x, norm, factor, inside = _normalized(rows, i, d, count, dim)
    x = x / norm[:, None]
    place = i.to(tl.int64)[:, None] * dim + d[None, :]
    g = tl.load(gradient + place, mask=inside, other=0.0)
    dot = tl.sum(x * g, 1)
    if ALONG:
        tl.store(along + i, dot, mask=i < count)
    ratio = _length(length, constant, i, count, LENGTH) / norm
    g = (g - x * dot[:, None]) * ratio[:, None] * factor[:, None]
    g = tl.clamp(g, -LARGEST, LARGEST, propagate_nan=tl.PropagateNan.ALL)
    tl.store(result + place, g.to(result.dtype.element_ty), mask=inside)


@triton.jit
def finish_gradient(
    gradient, scale, boost, own_slopes, partners, partner_scale, count, dim,
    SCALED: tl.constexpr, BOOSTED: tl.constexpr, OWN: tl.constexpr, ROWS: tl.constexpr, DIM: tl.constexpr,
) -> None:  # fmt: skip
    """Undo the scales of the products' gradients in place, and add ``own_slopes * partner_scale * partners``."""
    i, d = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, DIM)
    inside = (i < count)[:, None] & (d < dim)[None, :]
    place = i.to(tl.int64)[:, None] * dim + d[None, :]
    g = tl.load(gradient + place, mask=inside, other=0.0)
    if SCALED:
        factor = tl.load(scale + i, mask=i < count, other=1.0)
        if BOOSTED:
            factor *= tl.load(boost)
        g = g / factor[:, None]
    if OWN:
        own = tl.load(own_slopes + i, mask=i < count, other=0.0)
        if SCALED:
            own *= tl.load(partner_scale + i, mask=i < count, other=0.0)
        g += own[:, None] * tl.load(partners + place, mask=inside, other=0.0).to(tl.float32)
    tl.store(gradient + place, g, mask=inside)

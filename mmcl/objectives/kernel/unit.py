"""Normalization of rows to one length, without overflow or underflow of their squares."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmcl.objectives.kernel import products
from mmcl.objectives.kernel.inputs import precise

#: Per dtype (a, b, c): lengths from 2**-a to 2**a have safe squares. Longer rows are scaled by 2**-b, shorter by 2**c.
_EXPONENTS = {torch.float32: (50, 80, 100), torch.float64: (400, 600, 700)}


def rescaling(lengths: Tensor) -> Tensor:
    """Return the power of two to multiply rows with before squaring: 1 except for extreme lengths.

    Multiplication with a power of two is exact. A length that overflowed or underflowed to 0 counts as extreme.

    Args:
        lengths: norms or largest absolute values, of any shape, float32 or float64.

    >>> rescaling(torch.tensor([3.0, 1e-30, float("inf")])).log2().tolist()
    [0.0, 100.0, -80.0]
    """
    ordinary, down, up = _EXPONENTS[lengths.dtype]
    one = torch.ones_like(lengths)
    factor = torch.where(lengths > 2.0**ordinary, one * 2.0**-down, one)
    return torch.where(lengths < 2.0**-ordinary, one * 2.0**up, factor)


def unit(rows: Tensor, length: float | Tensor = 1.0) -> Tensor:
    """Scale each row to a length; zero rows stay zero and get a gradient as large as that of other rows.

    A gradient that overflows, such as that of rows of 1e-40, is clamped to the largest number of the dtype.

    Args:
        rows: ``(batch, dim)``, float32 or float64.
        length: one length for all rows, or ``(batch, 1)``.

    >>> unit(torch.tensor([[3.0, 4.0], [3e30, 4e30], [0.0, 0.0]]), length=10.0).tolist()
    [[6.0, 8.0], [6.0, 8.0], [0.0, 0.0]]
    """
    if products.uses_kernels(rows):
        return unit_for_products(rows, length, None).values
    if not isinstance(length, Tensor):
        length = rows.new_full((), length)
    return _Unit.apply(rows, length.to(rows))


class UnitRows(NamedTuple):
    """Rows of a length: ``values = scale[:, None] * product``.

    Args:
        values: float32 ``(batch, dim)``.
        product: rows in half precision for products, without gradient; empty if not wanted.
        scale: float32 ``(batch,)``, without gradient; empty if not wanted.
    """

    values: Tensor
    product: Tensor
    scale: Tensor


def unit_for_products(rows: Tensor, length: float | Tensor, product: torch.dtype | None) -> UnitRows:
    """Scale each row to a length by a Triton kernel, as :func:`unit`.

    Args:
        rows: ``(batch, dim)``, in float32 or half precision; the gradient is rounded to their type once.
        length: one length for all rows, or ``(batch, 1)``.
        product: half precision of the rows for products; None for none.
    """
    given = length.to(torch.float32).contiguous() if isinstance(length, Tensor) else None
    constant = 0.0 if isinstance(length, Tensor) else float(length)
    return UnitRows(*torch.ops.mmcl.unit_rows(rows, given, constant, product))


def directions(rows: Tensor) -> Tensor:
    """Return rows scaled to unit length, for metrics and predictions; zero rows stay zero.

    The result equals ``torch.nn.functional.normalize(rows, dim=1)`` to the last digit, except for rows shorter than
    1e-12, which that function does not scale to length 1.

    Args:
        rows: ``(batch, dim)``; half precision is computed in float32.

    >>> directions(torch.tensor([[3e-20, 4e-20], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    (values,) = precise(rows)
    lengths = values.norm(dim=1, keepdim=True)
    if not _all_ordinary(lengths):
        values = values * rescaling(lengths.detach())
        lengths = values.norm(dim=1, keepdim=True)
    return (values / lengths.clamp_min(torch.finfo(values.dtype).tiny)).to(rows.dtype)


def _all_ordinary(lengths: Tensor) -> bool:
    """Whether no row needs rescaling; False off the CPU, where the check costs more than scaling by 1."""
    if torch.compiler.is_compiling() or not lengths.is_cpu or not lengths.numel():
        return False
    bound = 2.0 ** _EXPONENTS[lengths.dtype][0]
    low, high = (float(extreme) for extreme in lengths.detach().aminmax())
    return low >= 1 / bound and high <= bound


class _Unit(torch.autograd.Function):
    """Custom backward, because plain autograd would allocate three times as many tensors of the size of ``rows``."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, length: Tensor) -> Tensor:
        ctx.save_for_backward(rows, length)
        scaled, norms, _ = _measured(rows)
        return scaled * (length / norms)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        rows, length = ctx.saved_tensors
        result, along = _gradients(gradient, rows, length)
        return result, along.sum_to_size(length.shape) if ctx.needs_input_grad[1] else None


def _gradients(gradient: Tensor, rows: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of rows and of the length of each row."""
    scaled, norms, factor = _measured(rows)
    inverse = 1 / norms
    along = torch.einsum("bd,bd->b", gradient, scaled)[:, None] * inverse
    result = torch.addcmul(gradient, scaled, -along * inverse).mul_(length * inverse)
    if factor is not None:
        largest = torch.finfo(rows.dtype).max
        result = (result * factor).clamp(-largest, largest)
    return result, along


def _measured(rows: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the rescaled rows, their norms (1 for zero rows), and the rescaling factor, None for 1."""
    norms = rows.norm(dim=1, keepdim=True)
    if _all_ordinary(norms):
        return rows, norms, None
    factor = rescaling(norms)
    rows = rows * factor
    norms = rows.norm(dim=1, keepdim=True)
    # A zero row has no direction, and its gradient is not rescaled.
    return rows, torch.where(norms > 0, norms, 1), torch.where(norms > 0, factor, 1)


torch.library.define(
    "mmcl::unit_rows", "(Tensor rows, Tensor? length, float constant, ScalarType? product) -> (Tensor, Tensor, Tensor)"
)
torch.library.define(
    "mmcl::unit_rows_backward",
    "(Tensor gradient, Tensor rows, Tensor? length, float constant, bool along) -> (Tensor, Tensor)",
)


@torch.library.impl("mmcl::unit_rows", "CompositeExplicitAutograd")
def _forward(rows, length, constant, product):  # type: ignore[no-untyped-def]
    return products.normalize(rows, length, constant, product)


@torch.library.impl("mmcl::unit_rows_backward", "CompositeExplicitAutograd")
def _backward(gradient, rows, length, constant, along):  # type: ignore[no-untyped-def]
    return products.normalize_backward(gradient, rows, length, constant, along)


@torch.library.register_fake("mmcl::unit_rows")
def _(rows, length, constant, product):  # type: ignore[no-untyped-def]
    values = torch.empty_like(rows, dtype=torch.float32)
    if product is None:
        return values, values.new_empty(0), values.new_empty(0)
    return values, torch.empty_like(rows, dtype=product), values.new_empty(len(rows))


@torch.library.register_fake("mmcl::unit_rows_backward")
def _(gradient, rows, length, constant, along):  # type: ignore[no-untyped-def]
    return torch.empty_like(rows), gradient.new_empty(len(rows) if along else 0)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    rows, length, ctx.constant, _ = inputs
    ctx.save_for_backward(rows, length)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    if gradient is None:
        return None, None, None, None
    rows, length = ctx.saved_tensors
    along = ctx.needs_input_grad[1]
    if torch.is_grad_enabled():  # a second derivative needs operators that have one
        plain = gradient.new_full((), ctx.constant) if length is None else length
        result, dots = _gradients(gradient, rows.to(gradient.dtype), plain)
        return result.to(rows.dtype), dots.sum_to_size(length.shape) if along else None, None, None
    result, dots = torch.ops.mmcl.unit_rows_backward(gradient, rows, length, ctx.constant, along)
    of_length = dots.sum() if along and length.numel() == 1 else dots
    return result, of_length.view_as(length) if along else None, None, None


torch.library.register_autograd("mmcl::unit_rows", _differentiate, setup_context=_remember)

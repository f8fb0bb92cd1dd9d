"""Losses of paired rows on a GPU as one node of autograd, because small batches wait for the processor there.

:mod:`mmcl.objectives.kernel.two_way` and SigLIP compute the same by several nodes, for all that is not listed in
:func:`takes_pairs`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmcl.objectives.kernel import strips
from mmcl.objectives.kernel.products import Products, normalize, normalize_backward, uses_kernels
from mmcl.objectives.kernel.tiles import Compared, refuse_second_derivative

Scale = float | Tensor  # 1 / temperature


def takes_pairs(queries: Tensor, keys: Tensor, *, block_size: int | None, gather: bool) -> bool:
    """Whether the functions here take paired rows: with kernels, in eager mode, of one process, with values.

    >>> takes_pairs(torch.eye(2), torch.eye(2), block_size=None, gather=False)  # no GPU
    False
    """
    if gather or block_size is not None or torch.compiler.is_compiling() or not uses_kernels(queries, keys):
        return False
    return all(type(side) in (Tensor, torch.nn.Parameter) for side in (queries, keys))  # subclasses may have no values


def paired_info_nce(queries: Tensor, keys: Tensor, scale: Scale, product: torch.dtype | None) -> tuple[Tensor, Tensor]:
    """Return InfoNCE of paired rows in both directions, see :func:`~mmcl.objectives.two_way_info_nce`.

    Args:
        queries, keys: ``(batch, dim)``.
        scale: factor of the cosines, also one for each query ``(batch,)``.
        product: half precision of the products, or None.
    """
    return _InfoNCE.apply(queries, keys, *_given(scale), product)


def paired_sigmoid(queries: Tensor, keys: Tensor, scale: Scale, bias: Tensor, product: torch.dtype | None) -> Tensor:
    """Return the sum of SigLIP's losses of all pairs, see :class:`~mmcl.objectives.SigLIPLoss`."""
    return _Sigmoid.apply(queries, keys, *_given(scale), bias, product)


def _given(scale: Scale) -> tuple[Tensor | None, float]:
    return (scale, 0.0) if isinstance(scale, Tensor) else (None, scale)


def _factors(
    queries: Tensor, keys: Tensor, length: Tensor | None, constant: float, product: torch.dtype | None
) -> Products:
    rows, halves, scale = normalize(queries, length, constant, product)
    others, other_halves, other_scale = normalize(keys, None, 1.0, product)
    return Products(halves, other_halves, scale, other_scale) if product else Products(rows, others)


class _InfoNCE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, length: Tensor | None, constant: float, product: torch.dtype | None
    ) -> tuple[Tensor, Tensor]:
        products = _factors(queries, keys, length, constant, product)
        logs, key_logs, own = strips.logsumexp(products, Compared(), True, 0, 0)
        ctx.constant = constant
        ctx.save_for_backward(queries, keys, length, logs, key_logs, *products)
        return (logs - own).mean(), (key_logs - own).mean()

    @staticmethod
    def backward(ctx: Any, of_rows: Tensor, of_columns: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        queries, keys, length, logs, key_logs, *products = ctx.saved_tensors
        count = logs.shape[0]
        each = torch.stack([of_rows, of_columns]).div_(count)[:, None].expand(2, count).contiguous()
        gradients = strips.logsumexp_backward(
            Products(*products), Compared(), (logs, key_logs), (each[0], each[1], each.sum(0).neg_()), 0, 0, _sides(ctx)
        )
        return *_of_rows(ctx, gradients, queries, keys, length), None, None


class _Sigmoid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        length: Tensor | None,
        constant: float,
        bias: Tensor,
        product: torch.dtype | None,
    ) -> Tensor:
        products = _factors(queries, keys, length, constant, product)
        wanted = [*_sides(ctx), ctx.needs_input_grad[4]]
        total, *gradients = strips.sigmoid(products, bias, 0, 0, wanted)
        ctx.constant = constant
        ctx.save_for_backward(queries, keys, length, *gradients)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        refuse_second_derivative()
        queries, keys, length, *gradients = ctx.saved_tensors
        of_queries, of_keys, of_bias = (each * gradient for each in gradients)
        rows = _of_rows(ctx, (of_queries, of_keys), queries, keys, length)
        return *rows, None, of_bias if ctx.needs_input_grad[4] else None, None


def _sides(ctx: Any) -> tuple[bool, bool]:
    """Whether the gradients of queries and keys are wanted; that of the scale needs that of the queries."""
    return ctx.needs_input_grad[0] or ctx.needs_input_grad[2], ctx.needs_input_grad[1]


def _of_rows(
    ctx: Any, gradients: tuple[Tensor, Tensor], queries: Tensor, keys: Tensor, length: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of queries, keys and scale, given those of rows of unit length."""
    of_queries = of_keys = of_scale = None
    if _sides(ctx)[0]:
        rows, along = normalize_backward(gradients[0], queries, length, ctx.constant, ctx.needs_input_grad[2])
        of_queries = rows if ctx.needs_input_grad[0] else None
        if length is not None and ctx.needs_input_grad[2]:
            of_scale = along if length.dim() else along.sum()
    if ctx.needs_input_grad[1]:
        of_keys, _ = normalize_backward(gradients[1], keys, None, 1.0, False)
    return of_queries, of_keys, of_scale

"""Factors of similarities in the precision of their products, for the Triton kernels.

The kernels take rows of unit length apart: a row in the precision of the inputs, and its scale in float32. Inputs in
half precision are thus multiplied as they are, and never rounded a second time.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from mmcl.objectives.kernel.inputs import precise

HALF = (torch.bfloat16, torch.float16)
_MAX_DIM = 16384  # a kernel holds whole rows


class Products(NamedTuple):
    """Rows in the precision of products: similarities are ``query_scale_i key_scale_j <queries_i, keys_j>``.

    Args:
        queries: ``(queries, dim)``.
        keys: ``(keys, dim)``; None if queries and keys are the same.
        query_scale, key_scale: float32 ``(queries,)`` and ``(keys,)``; None for 1.
    """

    queries: Tensor
    keys: Tensor | None
    query_scale: Tensor | None = None
    key_scale: Tensor | None = None

    @property
    def against(self) -> Tensor:
        """The keys, ``(keys, dim)``."""
        return self.queries if self.keys is None else self.keys

    @property
    def against_scale(self) -> Tensor | None:
        """Scale of the keys, ``(keys,)``."""
        return self.query_scale if self.keys is None else self.key_scale


def uses_kernels(*sides: Tensor) -> bool:
    """Whether the Triton kernels take these features ``(batch, dim)``: float32 and half precision, on a GPU.

    >>> uses_kernels(torch.zeros(2, 2, dtype=torch.float64))
    False
    """
    for side in sides:
        if not _has_kernels(side.device) or (side.dtype != torch.float32 and side.dtype not in HALF):
            return False
        if not (0 < side.shape[1] <= _MAX_DIM and side.shape[0] > 0):
            return False
    return True


@functools.cache
def _has_kernels(device: torch.device) -> bool:
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    return not torch.cuda.is_available() or _compiles(device)


def _compiles(device: torch.device) -> bool:
    """Whether Triton compiles and runs a kernel on the device, which needs a C compiler on the machine."""
    try:
        normalize(torch.ones(1, 1, device=device), None, 1.0, None)
    except Exception as error:  # Triton has no error type of its own for what a machine may lack
        warnings.warn(
            f"the Triton kernels do not run on {device}, and slower objectives take their place: {error}", stacklevel=2
        )
        return False
    return True


def product_type(queries: Tensor, keys: Tensor) -> torch.dtype | None:
    """Return the half precision of the products, or None for that of the features themselves.

    It is autocast's precision under autocast, and otherwise that of the features if both have the same.
    """
    if not uses_kernels(queries, keys):
        return None
    device = queries.device.type
    wanted = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else queries.dtype
    alike = torch.is_autocast_enabled(device) or queries.dtype == keys.dtype
    return wanted if alike and wanted in HALF else None


def in_float32(*sides: Tensor) -> tuple[list[Tensor], torch.autocast]:
    """Return features in at least float32, so that gradients of several uses add up in float32.

    Within the returned context, products keep the precision of the given features.

    >>> sides, context = in_float32(torch.ones(1, 2, dtype=torch.bfloat16))
    >>> sides[0].dtype
    torch.float32
    """
    product = product_type(sides[0], sides[-1])
    context = torch.autocast(sides[0].device.type, product or torch.bfloat16, enabled=product is not None)
    return precise(*sides), context


def normalize(
    rows: Tensor, length: Tensor | None, constant: float, product: torch.dtype | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows of a length in float32, the rows for products, and their scales; the latter empty if not wanted."""
    from mmcl.objectives.kernel.triton_rows import unit_rows

    count, dim = rows.shape
    rows = rows.contiguous()
    values = torch.empty_like(rows, dtype=torch.float32)
    half = torch.empty_like(rows, dtype=product) if product else values.new_empty(0)
    scale = values.new_empty(count if product else 0)
    grid, sizes = _row_blocks(count, dim)
    unit_rows[grid](
        rows, length, constant, values, half, scale, count, dim, LENGTH=_kind(length), PRODUCT=bool(product), **sizes
    )
    return values, half, scale


def normalize_backward(
    gradient: Tensor, rows: Tensor, length: Tensor | None, constant: float, along: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradient of rows in their type, and ``<gradient, unit row>``, empty if not wanted."""
    from mmcl.objectives.kernel.triton_rows import unit_rows_backward

    rows, gradient = rows.contiguous(), gradient.contiguous()
    result, dots = torch.empty_like(rows), gradient.new_empty(rows.shape[0] if along else 0)
    grid, sizes = _row_blocks(*rows.shape)
    unit_rows_backward[grid](
        gradient, rows, length, constant, result, dots, *rows.shape, LENGTH=_kind(length), ALONG=along, **sizes
    )
    return result, dots


def _kind(length: Tensor | None) -> int:
    return 0 if length is None else 1 if length.numel() == 1 else 2


def _row_blocks(count: int, dim: int) -> tuple[tuple[int], dict[str, int]]:
    width = 1 << (dim - 1).bit_length()
    rows = max(1, 2048 // width)
    return (-(-count // rows),), {"ROWS": rows, "DIM": width, "num_warps": 8 if width > 2048 else 4}


def finish_rows(
    gradient: Tensor,
    rows: tuple[Tensor, Tensor | None],
    place: slice,
    boost: Tensor | None,
    own: Tensor,
    partners: tuple[Tensor, Tensor | None],
    partner: slice,
) -> None:
    """Undo the scales of rows' gradients in place, and add those of pairs of rows with partners.

    Args:
        gradient: gradients of all rows.
        rows: all rows and their scales.
        place: the rows to finish.
        boost: factor of the gradients; None for 1.
        own: derivatives with respect to the pairs; empty for none.
        partners: all partners and their scales.
        partner: the partners of the rows.
    """
    from mmcl.objectives.kernel.triton_rows import finish_gradient

    gradient, scale = gradient[place], part(rows[1], place)
    if not gradient.shape[0] or (scale is None and not own.shape[0]):
        return
    grid, sizes = _row_blocks(*gradient.shape)
    finish_gradient[grid](
        gradient, scale, boost, own, partners[0][partner], part(partners[1], partner), *gradient.shape,
        SCALED=scale is not None, BOOSTED=boost is not None, OWN=own.shape[0] > 0, **sizes,
    )  # fmt: skip


def part(tensor: Tensor | None, place: slice) -> Tensor | None:
    """Return a part of a tensor, if there is one."""
    return None if tensor is None else tensor[place]

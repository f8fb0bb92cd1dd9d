"""What every objective does with what it is handed: refuse what cannot be used, and bring the rest into one form."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.errors import InputError, ShapeError


def check_finite(**tensors: Tensor) -> None:
    """Refuse tensors that are not floating point, or hold NaN or infinity.

    Args:
        tensors: by name, of one dimension or more; rows are counted along the first.

    Raises:
        InputError: names the tensor and the first such row.

    >>> check_finite(logits=torch.tensor([[0.0], [float("inf")]]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: logits: row 1 is not finite, it holds inf; look at what made it
    """
    for name, given in tensors.items():
        if not isinstance(given, Tensor):
            raise InputError(f"{name} is a {type(given).__name__}, expected a tensor")
        if not given.is_floating_point():
            raise InputError(f"{name} is of type {given.dtype}, expected floating point; convert it with .float()")
        # One sum looks at all of them; the rows are searched only if it tells of something.
        if torch.compiler.is_compiling() or bool(given.detach().sum(dtype=_at_least_single(given)).isfinite()):
            continue
        bad = torch.nonzero(~torch.isfinite(given.detach()))
        if len(bad):
            row = f": row {int(bad[0, 0])}" if given.dim() else ""
            raise InputError(
                f"{name}{row} is not finite, it holds {given.detach()[tuple(bad[0])].item()}; look at what made it"
            )


def refuse_overflow(loss: Tensor, what: str) -> Tensor:
    """Return the loss of finite inputs, unless they were too large for it.

    Raises:
        InputError: the loss is not finite.

    >>> refuse_overflow(torch.tensor([1e30]).square().sum(), "features")
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: features are too large, their loss is inf in torch.float32; scale them, or use .double()
    """
    if not torch.compiler.is_compiling() and not bool(loss.detach().isfinite().all()):
        value = loss.detach()[~loss.detach().isfinite()].flatten()[0].item()
        raise InputError(f"{what} are too large, their loss is {value} in {loss.dtype}; scale them, or use .double()")
    return loss


def check_features(**sides: Tensor) -> None:
    """Refuse features that no objective can use.

    Args:
        sides: by name, each ``(batch, dim)`` of one dim.

    Raises:
        ShapeError: not two dimensions, or dims that differ.
        InputError: not floating point, not finite, or not on one device; names the side and the first such row.

    >>> check_features(queries=torch.zeros(2, 3), keys=torch.tensor([[0.0, 0.0, float("nan")]]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: keys: row 0 is not finite, it holds nan; look at what made it
    """
    for name, side in sides.items():
        if not isinstance(side, Tensor):
            raise InputError(f"{name} is a {type(side).__name__}, expected a tensor (batch, dim)")
    shapes = {name: tuple(side.shape) for name, side in sides.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[1] for shape in shapes.values()}) != 1:
        given = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(f"{given} do not fit: expected (batch, dim), of equal dim")
    if len({side.device for side in sides.values()}) != 1:
        given = " and ".join(f"{name} on {side.device}" for name, side in sides.items())
        raise InputError(f"{given}: expected one device; move them with .to()")
    check_finite(**sides)


def check_paired(**sides: Tensor) -> None:
    """Refuse features that are not row by row of the same samples.

    Raises:
        ShapeError, InputError: as :func:`check_features`; ShapeError also where the shapes differ.

    >>> check_paired(a=torch.zeros(2, 3), b=torch.zeros(1, 3))
    Traceback (most recent call last):
    ...
    mmcl.errors.ShapeError: a (2, 3) and b (1, 3) are not paired: expected the same (batch, dim)
    """
    check_features(**sides)
    if len({side.shape for side in sides.values()}) != 1:
        given = " and ".join(f"{name} {tuple(side.shape)}" for name, side in sides.items())
        raise ShapeError(f"{given} are not paired: expected the same (batch, dim)")


def stacked_views(views: Tensor | Sequence[Tensor]) -> Tensor:
    """Return embeddings of several views of the same samples as one tensor, ``(views, batch, dim)``.

    Args:
        views: ``(views, batch, dim)``, or a sequence of ``(batch, dim)``.

    Raises:
        ShapeError: fewer than two views, or views that differ in shape.
        InputError: not floating point, or not finite; names the first such row.

    >>> stacked_views([torch.zeros(4, 2)])
    Traceback (most recent call last):
    ...
    mmcl.errors.ShapeError: views have shapes (4, 2), expected 2 or more views of the same (batch, dim)
    """
    if len(views) < 2 or len({view.shape for view in views}) != 1 or views[0].dim() != 2:
        shapes = " and ".join(str(tuple(view.shape)) for view in views) or "of no view"
        raise ShapeError(f"views have shapes {shapes}, expected 2 or more views of the same (batch, dim)")
    check_features(**{f"view {number}": view for number, view in enumerate(views)})
    return views if isinstance(views, Tensor) else torch.stack(list(views))


def precise(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in one floating point type, of at least float32.

    >>> [tensor.dtype for tensor in precise(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1))]
    [torch.float32, torch.float32]
    """
    dtype = _at_least_single(*tensors)
    return [tensor.to(dtype) for tensor in tensors]


def _at_least_single(*tensors: Tensor) -> torch.dtype:
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype

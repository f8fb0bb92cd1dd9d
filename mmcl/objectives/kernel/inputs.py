"""Input validation and casting shared by all objectives.

Reading a value from a GPU waits for it, and ``torch.compile`` and CUDA graphs cannot capture that. Objectives therefore
read values only where :func:`checks_values` is True. An invalid value is then an error at once, which names the row.
Elsewhere an invalid value makes the loss NaN or infinite, and the training loop finds that. Types, shapes and devices
are always checked. To find a row on a GPU, call ``torch.autograd.set_detect_anomaly(True)``: values are then checked at
once on every device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.arguments import require_tensors
from mmcl.errors import InputError, ShapeError


def checks_values(*tensors: Tensor) -> bool:
    """Return whether values of tensors are read and checked at once.

    True on the CPU, and on every device while ``torch.is_anomaly_enabled()``. False under ``torch.compile``.

    >>> checks_values(torch.zeros(1)), checks_values(torch.zeros(1, device="meta"))
    (True, False)
    """
    if torch.compiler.is_compiling():
        return False
    return all(tensor.is_cpu for tensor in tensors) or torch.is_anomaly_enabled()


def poisoned(values: Tensor, valid: Tensor) -> Tensor:
    """Return floating point values, or NaN in their place if they are not valid.

    Args:
        values: of any shape.
        valid: boolean, one for all values or one for each.

    >>> poisoned(torch.tensor([1.0, -1.0]), torch.tensor([True, False]))
    tensor([1., nan])
    """
    return torch.where(valid, values, torch.nan)


def check_finite_tensors(**tensors: Tensor) -> None:
    """Check that tensors are floating point and, where :func:`checks_values` is True, finite.

    Args:
        tensors: tensors by name, of any shape. Errors count rows along the first dimension.

    Raises:
        InputError: names the tensor and the first row that is not finite.

    >>> check_finite_tensors(logits=torch.tensor([[0.0], [float("inf")]]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: logits: row 1 is not finite, it holds inf; check how it was computed
    """
    for name, tensor in tensors.items():
        require_tensors(**{name: tensor})
        if not tensor.is_floating_point():
            raise InputError(f"{name} is of type {tensor.dtype}, expected floating point; convert it with .float()")
        if checks_values(tensor):
            require_finite(**{name: tensor})


def require_finite(**tensors: Tensor) -> None:
    """Check at once that floating point tensors are finite, on every device.

    For metrics and other functions outside of training steps, which may wait for the device.

    Args:
        tensors: tensors by name, of any shape. Errors count rows along the first dimension.

    Raises:
        InputError: names the tensor and the first row that is not finite.
    """
    for name, tensor in tensors.items():
        # A finite sum proves that all values are finite. The rows are searched only if it is not.
        if torch.compiler.is_compiling() or bool(tensor.detach().sum(dtype=_at_least_single(tensor)).isfinite()):
            continue
        bad = torch.nonzero(~torch.isfinite(tensor.detach()))
        if len(bad):
            row = f": row {int(bad[0, 0])}" if tensor.dim() else ""
            value = tensor.detach()[tuple(bad[0])].item()
            raise InputError(f"{name}{row} is not finite, it holds {value}; check how it was computed")


def refuse_overflow(loss: Tensor, inputs: str) -> Tensor:
    """Return the loss, which must be finite where :func:`checks_values` is True.

    Args:
        loss: loss of finite inputs, of any shape.
        inputs: plural name of the inputs, for the error.

    Raises:
        InputError: the loss is not finite, because the inputs are too large.

    >>> refuse_overflow(torch.tensor([1e30]).square().sum(), "features")
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: features are too large, their loss is inf in torch.float32; scale them, or use .double()
    """
    if checks_values(loss) and not bool(loss.detach().isfinite().all()):
        value = loss.detach()[~loss.detach().isfinite()].flatten()[0].item()
        raise InputError(f"{inputs} are too large, their loss is {value} in {loss.dtype}; scale them, or use .double()")
    return loss


def check_features(**sides: Tensor) -> None:
    """Check that features are finite tensors of equal dimension on one device.

    Args:
        sides: features by name, each ``(batch, dim)``.

    Raises:
        ShapeError: not two dimensions, or unequal ``dim``.
        InputError: not floating point, not finite, or on different devices; names the side and the row.

    >>> check_features(queries=torch.zeros(2, 3), keys=torch.tensor([[0.0, 0.0, float("nan")]]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: keys: row 0 is not finite, it holds nan; check how it was computed
    """
    require_tensors(**sides)
    shapes = {name: tuple(side.shape) for name, side in sides.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[1] for shape in shapes.values()}) != 1:
        given = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(f"shapes do not match: got {given}, expected (batch, dim) with equal dim")
    if len({side.device for side in sides.values()}) != 1:
        given = " and ".join(f"{name} on {side.device}" for name, side in sides.items())
        raise InputError(f"got {given}, expected one device; move them with .to()")
    check_finite_tensors(**sides)


def check_paired(**sides: Tensor) -> None:
    """Check that features are valid and paired row by row.

    Args:
        sides: features by name, each ``(batch, dim)``.

    Raises:
        ShapeError, InputError: as :func:`check_features`; ShapeError also if the shapes differ.

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
    """Return paired embeddings of several views as one tensor, ``(views, batch, dim)``.

    Args:
        views: ``(views, batch, dim)``, or a sequence of ``(batch, dim)``.

    Raises:
        ShapeError: fewer than two views, or unequal shapes.
        InputError: not floating point, or not finite; names the view and the row.

    >>> stacked_views([torch.zeros(4, 2)])
    Traceback (most recent call last):
    ...
    mmcl.errors.ShapeError: views have shapes [(4, 2)], expected 2 or more views of the same (batch, dim)
    """
    if not isinstance(views, Tensor):
        require_tensors(**{f"views[{number}]": view for number, view in enumerate(views)})
    if len(views) < 2 or len({view.shape for view in views}) != 1 or views[0].dim() != 2:
        shapes = [tuple(view.shape) for view in views]
        raise ShapeError(f"views have shapes {shapes}, expected 2 or more views of the same (batch, dim)")
    check_features(**{f"view {number}": view for number, view in enumerate(views)})
    return views if isinstance(views, Tensor) else torch.stack(list(views))


def precise(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in their common floating point type, at least float32.

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

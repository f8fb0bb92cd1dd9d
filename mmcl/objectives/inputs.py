"""What every objective does with what it is handed: refuse what cannot be used, and bring the rest into one form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mmcl.errors import InputError, LabelError, ShapeError

#: A number, a tensor of no dimensions, or a module such as :class:`~mmcl.objectives.LearnableTemperature`.
Temperature: TypeAlias = float | Tensor | Callable[[], Tensor]


def temperature_of(temperature: Temperature, rows: int | None = None) -> float | Tensor:
    """Return the temperature as a number or a tensor, after a look at it.

    Args:
        temperature: greater than 0.
        rows: allow one temperature for each of so many rows; None for a single temperature only.

    Raises:
        ShapeError: a tensor of another shape.
        InputError: not greater than 0.

    >>> temperature_of(0.1)
    0.1
    """
    value = temperature() if callable(temperature) else temperature
    if isinstance(value, Tensor) and value.dim() and tuple(value.shape) != (rows,):
        expected = "one number" if rows is None else f"one number, or one for each of {rows} queries"
        raise ShapeError(f"temperature has shape {tuple(value.shape)}, expected {expected}")
    if not torch.compiler.is_compiling() and not bool(torch.as_tensor(value > 0).all()):
        raise InputError(f"temperature is {value if isinstance(value, float | int) else value.tolist()}, expected > 0")
    return value


def check_features(**sides: Tensor) -> None:
    """Refuse features that no objective can use.

    Args:
        sides: by name, each ``(batch, dim)`` of one dim.

    Raises:
        ShapeError: not two dimensions, or dims that differ.
        InputError: not floating point, or not finite; names the side and the first such row.

    >>> check_features(queries=torch.zeros(2, 3), keys=torch.tensor([[0.0, 0.0, float("nan")]]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: keys: row 0 is not finite, it holds nan; look at what made it
    """
    shapes = {name: tuple(side.shape) for name, side in sides.items()}
    if any(len(shape) != 2 for shape in shapes.values()) or len({shape[1] for shape in shapes.values()}) != 1:
        given = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ShapeError(f"{given} do not fit: expected (batch, dim), of equal dim")
    for name, side in sides.items():
        if not side.is_floating_point():
            raise InputError(f"{name} is of type {side.dtype}, expected floating point; convert it with .float()")
        # One sum looks at all of them; the rows are searched only if it tells of something.
        if torch.compiler.is_compiling() or bool(torch.isfinite(side.detach().sum(dtype=torch.float32))):
            continue
        bad = torch.nonzero(~torch.isfinite(side.detach()))
        if len(bad):
            row, column = bad[0].tolist()
            raise InputError(
                f"{name}: row {row} is not finite, it holds {side[row, column].item()}; look at what made it"
            )


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


def check_labels(count: int, **labels: Tensor) -> None:
    """Refuse labels that are not one whole number for each row.

    Raises:
        ShapeError: not ``(count,)``.
        LabelError: not integers.

    >>> check_labels(3, labels=torch.tensor([0, 1]))
    Traceback (most recent call last):
    ...
    mmcl.errors.ShapeError: labels has shape (2,), expected one for each row, (3,)
    """
    for name, given in labels.items():
        if tuple(given.shape) != (count,):
            raise ShapeError(f"{name} has shape {tuple(given.shape)}, expected one for each row, ({count},)")
        if given.is_floating_point() or given.is_complex():
            raise LabelError(f"{name} is of type {given.dtype}, expected whole numbers; convert it with .long()")


def check_mixture(permutation: Tensor, lam: Tensor) -> None:
    """Refuse what says of no mixture how it was made.

    Args:
        permutation: the partner of each row, ``(batch,)``.
        lam: the share of the row itself, ``(batch,)``.

    Raises:
        ShapeError, LabelError: not one number, and one whole number, for each row.
        InputError: lam is outside [0, 1], or permutation is none.

    >>> check_mixture(torch.tensor([1, 1]), torch.tensor([0.5, 0.5]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: permutation [1, 1] is none: expected each of 0 to 1 once; torch.randperm makes one
    """
    count = len(permutation)
    check_labels(count, permutation=permutation)
    if tuple(lam.shape) != (count,):
        raise ShapeError(f"lam has shape {tuple(lam.shape)}, expected one share for each row, ({count},)")
    if torch.compiler.is_compiling():
        return
    if not torch.equal(permutation.sort().values.cpu(), torch.arange(count)):
        raise InputError(
            f"permutation {permutation.tolist()[:8]} is none: expected each of 0 to {count - 1} once; "
            "torch.randperm makes one"
        )
    if not bool(((lam >= 0) & (lam <= 1)).all()):
        worst = lam.detach()[(lam - 0.5).abs().nan_to_num(torch.inf).argmax()].item()
        raise InputError(f"lam holds {worst}, expected shares within [0, 1]; draw them from a Beta distribution")


def unit(rows: Tensor, length: float | Tensor = 1.0) -> Tensor:
    """Scale each row to one length; a row of zeros stays one, with a gradient of the size of its neighbours'.

    Args:
        rows: ``(batch, dim)``.
        length: for all rows, or ``(batch, 1)``.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]), length=10.0).tolist()
    [[6.0, 8.0], [0.0, 0.0]]
    """
    return _Unit.apply(rows, torch.as_tensor(length, dtype=rows.dtype, device=rows.device))


class _Unit(torch.autograd.Function):
    """By itself autograd would keep and make three times as many tensors of the rows' size, which is what costs."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, length: Tensor) -> Tensor:
        norms = rows.norm(dim=1, keepdim=True)
        scale = length / torch.where(norms > 0, norms, 1)
        result = rows * scale
        ctx.save_for_backward(rows, length)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        rows, length = ctx.saved_tensors
        norms = rows.norm(dim=1, keepdim=True)
        inverse = 1 / torch.where(norms > 0, norms, 1)
        along = torch.einsum("bd,bd->b", gradient, rows)[:, None] * inverse
        result = torch.addcmul(gradient, rows, -along * inverse).mul_(length * inverse)
        return result, along.sum_to_size(length.shape) if ctx.needs_input_grad[1] else None


def precise(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors in one floating point type, of at least float32.

    >>> [tensor.dtype for tensor in precise(torch.zeros(1, dtype=torch.bfloat16), torch.zeros(1))]
    [torch.float32, torch.float32]
    """
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.to(dtype) for tensor in tensors]

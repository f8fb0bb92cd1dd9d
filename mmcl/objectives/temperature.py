"""Temperatures: validation of temperatures and weights, and a learnable temperature as in CLIP."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.inputs import checks_values, poisoned, precise

#: A number, a scalar tensor, or a module such as :class:`~mmcl.objectives.LearnableTemperature`.
Temperature: TypeAlias = float | Tensor | Callable[[], Tensor]

#: Range of positive numbers for which similarities and their sums stay within float32.
LOWEST, HIGHEST = 1e-18, 1e18


def temperature_of(temperature: Temperature, rows: int | None = None) -> float | Tensor:
    """Validate a temperature, and return it as a number or as a tensor of at least float32.

    Args:
        temperature: from 1e-18 to 1e18.
        rows: also allow one temperature per row, ``(rows,)``; None for a single temperature only.

    Raises:
        ShapeError: a tensor of another shape.
        InputError: not a number, or outside the range. A tensor outside the range becomes NaN on devices whose values
            are not checked at once.

    >>> temperature_of(0.1)
    0.1
    """
    value = temperature() if callable(temperature) else temperature
    if not isinstance(value, Tensor):
        return positive("temperature", value)
    if value.dtype == torch.bool or value.is_complex():
        raise InputError(f"temperature is of type {value.dtype}, expected floating point; pass a number such as 0.07")
    if value.dim() and tuple(value.shape) != (rows,):
        expected = "one number" if rows is None else f"one number, or one for each of {rows} queries"
        raise ShapeError(f"temperature has shape {tuple(value.shape)}, expected {expected}")
    (value,) = precise(value)  # 1 / temperature can overflow in half precision
    valid = (value >= LOWEST) & (value <= HIGHEST)
    if not checks_values(value):
        return poisoned(value, valid)
    if not bool(valid.all()):
        where = f" of query {int((~valid).nonzero()[0])}" if value.dim() else ""
        raise InputError(f"temperature{where} is {value[~valid].flatten()[0].item():g}, {_EXPECTED}")
    return value


_EXPECTED = f"expected > 0, from {LOWEST:g} to {HIGHEST:g}"


def positive(name: str, value: object) -> float:
    """Return a value as a float after validation.

    Args:
        name: name of the value in errors.
        value: number from 1e-18 to 1e18.

    Raises:
        InputError: not a number, or outside the range.

    >>> positive("sigma", "0.5")
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: sigma is '0.5', expected > 0, from 1e-18 to 1e+18
    """
    number = number_of(value)
    if number is None or not LOWEST <= number <= HIGHEST:
        raise InputError(f"{name} is {value!r}, {_EXPECTED}")
    return float(number)


def weight_of(name: str, value: float) -> float | Tensor:
    """Validate the weight of a loss term, and return it.

    Args:
        name: name of the weight in errors.
        value: number from 0 to 1e18. A scalar tensor is allowed too.

    Raises:
        InputError: not a number, or outside the range. A tensor outside the range becomes NaN on devices whose values
            are not checked at once.

    >>> weight_of("beta", float("nan"))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: beta is nan, expected a number of 0 or more
    """
    given: object = value
    if isinstance(given, Tensor) and not given.dim() and not checks_values(given):
        (weight,) = precise(given)
        return poisoned(weight, (weight >= 0) & (weight <= HIGHEST))
    number = number_of(given)
    if number is None or not 0 <= number <= HIGHEST:
        raise InputError(f"{name} is {given!r}, expected a number of 0 or more")
    return value


def number_of(value: object) -> float | None:
    """Return a number, also from a scalar tensor; None for other types, such as text or booleans."""
    if isinstance(value, Tensor) and not value.dim():
        value = value.item()
    return value if isinstance(value, Real) and not isinstance(value, bool) else None  # type: ignore[return-value]


class LearnableTemperature(nn.Module):
    """Learnable temperature, parametrized as ``log(1 / temperature)`` so that it stays positive.

    ``temperature = exp(-log_scale)`` with log_scale clamped to [0, log(1 / minimum)]. Radford et al. 2021 (CLIP),
    sections 2.3 and 2.5: initially 0.07, 1 / temperature at most 100. The parameter is clamped, not the result. A
    clamped result would have no gradient, and a parameter beyond the bound could not return.

    Pass it to an objective in place of a number, and its parameter to the optimizer without weight decay.

    Args:
        initial: initial temperature, from ``minimum`` to 1.
        minimum: lowest temperature, at least 1e-18.

    Raises:
        InputError: not ``0 < minimum <= initial <= 1``.

    >>> from mmcl.objectives import CLIPLoss
    >>> temperature = LearnableTemperature(0.1)
    >>> loss = CLIPLoss(temperature)(torch.eye(2), torch.eye(2))
    >>> loss.backward()
    >>> round(temperature().item(), 4), temperature.log_scale.grad is not None
    (0.1, True)
    """

    def __init__(self, initial: float = 0.07, minimum: float = 0.01) -> None:
        super().__init__()
        numbers = number_of(minimum), number_of(initial)
        if None in numbers or not LOWEST <= minimum <= initial <= 1:
            raise InputError(
                f"minimum is {minimum!r}, initial is {initial!r}: expected {LOWEST:g} <= minimum <= initial <= 1"
            )
        self.highest = math.log(1 / minimum)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / initial)))

    def forward(self) -> Tensor:
        """Return the temperature, a scalar tensor."""
        with torch.no_grad():
            self.log_scale.clamp_(0, self.highest)
        return torch.exp(-self.log_scale)

"""Conversion of sequences of integers: lists, tuples, ranges, NumPy arrays and tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, overload

from mmcl.errors import InputError, LabelError, MMCLError


@overload
def whole_numbers(
    values: object, name: str, *, names: Literal[False] = False, error: type[MMCLError] = InputError
) -> list[int]: ...


@overload
def whole_numbers(
    values: object, name: str, *, names: Literal[True], error: type[MMCLError] = InputError
) -> list[int | str]: ...


def whole_numbers(
    values: object, name: str, *, names: bool = False, error: type[MMCLError] = InputError
) -> list[int] | list[int | str]:
    """Return a sequence of integers as a list of ``int``.

    Args:
        values: list, tuple, set, range, NumPy array or tensor of one dimension.
        name: name of the argument, for errors.
        names: also allow strings, which are kept.
        error: type of the error to raise.

    Raises:
        InputError: the value is not a sequence, has more than one dimension, or holds a value that is not an integer.

    >>> import numpy, torch
    >>> whole_numbers(torch.tensor([3, 1]), "rows"), whole_numbers([numpy.int64(2), torch.tensor(0)], "rows")
    ([3, 1], [2, 0])
    >>> whole_numbers([0.0, 1.0], "rows")
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: rows holds 0.0 (float), expected whole numbers
    """
    expected = f"whole numbers{' or names' if names else ''}"
    dimensions = getattr(values, "ndim", 1)
    if dimensions != 1:
        raise error(f"{name} has {dimensions} dimensions, expected one, of {expected}")
    if isinstance(values, (str, bytes, dict)) or not isinstance(values, Iterable):
        raise error(f"{name} is {values!r} ({type(values).__name__}), expected a sequence of {expected}")
    found: list[int | str] = []
    for value in values.tolist() if hasattr(values, "tolist") else values:
        plain = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
        if isinstance(plain, bool) or not isinstance(plain, (int, str) if names else int):
            raise error(f"{name} holds {value!r} ({type(value).__name__}), expected {expected}")
        found.append(str(plain) if isinstance(plain, str) else int(plain))
    return found


def class_labels(values: object) -> list[int]:
    """Return class labels as a list of ``int``.

    Args:
        values: as in :func:`whole_numbers`.

    Raises:
        LabelError: a label is negative or not an integer.

    >>> class_labels([2, -1])
    Traceback (most recent call last):
    ...
    mmcl.errors.LabelError: label -1 is negative, expected 0 or more: check the data set's labels
    """
    labels = whole_numbers(values, "labels", error=LabelError)
    if labels and min(labels) < 0:
        raise LabelError(f"label {min(labels)} is negative, expected 0 or more: check the data set's labels")
    return labels

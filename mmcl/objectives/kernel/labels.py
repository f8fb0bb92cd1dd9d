"""Validation and casting of labels, boolean masks and mixup coefficients.

Labels stay tensors here, for differentiable code on any device and under ``torch.compile``, and may be booleans. Lists
of integers as plain Python values are the task of :func:`mmcl.config.whole_numbers.whole_numbers`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.arguments import require_tensors
from mmcl.errors import InputError, LabelError, ShapeError
from mmcl.objectives.kernel.inputs import check_finite_tensors, checks_values, poisoned, precise


def labels_of(name: str, given: object, count: int | None = None, device: torch.device | None = None) -> Tensor:
    """Return labels as an int64 tensor.

    Args:
        name: name of the labels in errors.
        given: tensor, array or list of integers or booleans, one per row.
        count: expected number of rows; None for any.
        device: target device; None for the present one.

    Raises:
        ShapeError: the shape is not ``(count,)``.
        LabelError: not integers or booleans.

    >>> labels_of("labels", [True, False]), labels_of("labels", torch.tensor([3, 255], dtype=torch.uint8))
    (tensor([1, 0]), tensor([  3, 255]))
    >>> labels_of("labels", torch.tensor([0, 1]), count=3)
    Traceback (most recent call last):
    ...
    mmcl.errors.ShapeError: labels has shape (2,), expected one label per row, (3,)
    """
    labels = given if isinstance(given, Tensor) else _tensor_of(name, given)
    if labels.dim() != 1 or (count is not None and len(labels) != count):
        rows = "batch" if count is None else count
        raise ShapeError(f"{name} has shape {tuple(labels.shape)}, expected one label per row, ({rows},)")
    if labels.is_floating_point() or labels.is_complex():
        raise LabelError(f"{name} is of type {labels.dtype}, expected integers; convert it with .long()")
    return labels.to(device=device, dtype=torch.long)


def targets_of(name: str, given: Tensor, count: int, device: torch.device) -> Tensor:
    """Return numbers of a regression, one per row, of at least float32 and without gradient.

    Args:
        name: name of the numbers in errors.
        given: numbers, ``(count,)``; integers are converted.
        count: expected number of rows.
        device: target device.

    Raises:
        ShapeError: the shape is not ``(count,)``.
        InputError: not real numbers, or not finite. On devices whose values are not checked at once, they stay.

    >>> targets_of("targets", torch.tensor([1, 2]), 2, torch.device("cpu"))
    tensor([1., 2.])
    """
    require_tensors(**{name: given})
    if tuple(given.shape) != (count,):
        raise ShapeError(f"{name} has shape {tuple(given.shape)}, expected one number per row, ({count},)")
    if given.is_complex():
        raise InputError(f"{name} is of type {given.dtype}, expected real numbers")
    (targets,) = precise(given.detach() if given.is_floating_point() else given.float())
    check_finite_tensors(**{name: targets})
    return targets.to(device)


def flags_of(name: str, given: object, count: int, device: torch.device | None = None) -> Tensor:
    """Return a boolean per row, given as booleans or as 0 and 1.

    Args:
        name, given, count, device: as :func:`labels_of`.

    Raises:
        ShapeError, LabelError: as :func:`labels_of`; LabelError also for numbers other than 0 and 1. On devices whose
            values are not checked at once, such numbers count as True.

    >>> flags_of("is_rehearsal", [0, 1], count=2)
    tensor([False,  True])
    """
    labels = labels_of(name, given, count, device)
    if checks_values(labels) and bool(((labels != 0) & (labels != 1)).any()):
        other = labels[(labels != 0) & (labels != 1)][0].item()
        raise LabelError(f"{name} holds {other}, expected True and False, or 1 and 0")
    return labels.bool()


def flag_factors(name: str, given: object, count: int, device: torch.device | None = None) -> Tensor:
    """Return the factor of each row, float32: 1 for True and 0 for False, for objectives that cannot select rows.

    Args:
        name, given, count, device: as :func:`flags_of`.

    Raises:
        ShapeError, LabelError: as :func:`flags_of`. On devices whose values are not checked at once, the factor of
            another number is NaN.

    >>> flag_factors("is_anchor", [True, False], count=2)
    tensor([1., 0.])
    """
    labels = labels_of(name, given, count, device)
    flags = flags_of(name, labels, count)
    return poisoned(flags.float(), (labels == 0) | (labels == 1))


def _tensor_of(name: str, given: object) -> Tensor:
    try:
        labels = torch.tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise LabelError(f"{name} is a {type(given).__name__}, expected a tensor of integers (batch,)") from None
    return labels if labels.numel() else labels.long()


def mixture_of(permutation: Tensor, lam: Tensor) -> tuple[Tensor, Tensor]:
    """Validate a mixup permutation and its coefficients, and return both.

    On devices whose values are not checked at once, the coefficients of an invalid mixture become NaN, and its indices
    stay within the batch.

    Args:
        permutation: partner of each row, ``(batch,)``, int64.
        lam: mixing coefficient of the row itself, ``(batch,)``.

    Raises:
        ShapeError: not one coefficient per row.
        InputError: a coefficient outside [0, 1], or ``permutation`` is not a permutation.

    >>> mixture_of(torch.tensor([1, 1]), torch.tensor([0.5, 0.5]))
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: [1, 1] is not a permutation of 0..1: create one with torch.randperm
    """
    count = len(permutation)
    if not isinstance(lam, Tensor) or tuple(lam.shape) != (count,) or lam.is_complex():
        shape = tuple(lam.shape) if isinstance(lam, Tensor) else type(lam).__name__
        raise ShapeError(f"lam has shape {shape}, expected one coefficient per row, ({count},)")
    is_permutation = (permutation.sort().values == torch.arange(count, device=permutation.device)).all()
    in_range = ((lam >= 0) & (lam <= 1)).all()
    if not checks_values(permutation, lam):
        (lam,) = precise(lam)
        return permutation.clamp(0, max(count - 1, 0)), poisoned(lam, is_permutation & in_range)
    if not bool(is_permutation):
        raise InputError(
            f"{permutation.tolist()[:8]} is not a permutation of 0..{count - 1}: create one with torch.randperm"
        )
    if not bool(in_range):
        worst = lam.detach()[(lam - 0.5).abs().nan_to_num(torch.inf).argmax()].item()
        raise InputError(f"lam holds {worst}, expected coefficients in [0, 1]: draw them from a Beta distribution")
    return permutation, lam

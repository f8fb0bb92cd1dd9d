"""Labels and flags of a batch, in whatever form they come: one form out of it, or an error that names them."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import InputError, LabelError, ShapeError


def labels_of(name: str, given: object, count: int | None = None, device: torch.device | None = None) -> Tensor:
    """Return labels as int64, whatever whole numbers they were given as.

    Args:
        name: what errors call them.
        given: a tensor, array or list of any whole numbers or booleans, one for each row.
        count: rows; None for as many as there are.
        device: where they are needed; None for where they are.

    Raises:
        ShapeError: not ``(count,)``.
        LabelError: not whole numbers.

    >>> labels_of("labels", [True, False]), labels_of("labels", torch.tensor([3, 255], dtype=torch.uint8))
    (tensor([1, 0]), tensor([  3, 255]))
    >>> labels_of("labels", torch.tensor([0, 1]), count=3)
    Traceback (most recent call last):
    ...
    mmcl.errors.ShapeError: labels has shape (2,), expected one for each row, (3,)
    """
    labels = given if isinstance(given, Tensor) else _tensor_of(name, given)
    if labels.dim() != 1 or (count is not None and len(labels) != count):
        rows = "batch" if count is None else count
        raise ShapeError(f"{name} has shape {tuple(labels.shape)}, expected one for each row, ({rows},)")
    if labels.is_floating_point() or labels.is_complex():
        raise LabelError(f"{name} is of type {labels.dtype}, expected whole numbers; convert it with .long()")
    return labels.to(device=device, dtype=torch.long)


def flags_of(name: str, given: object, count: int, device: torch.device | None = None) -> Tensor:
    """Return a boolean for each row, given as booleans or as whole numbers 0 and 1; arguments as of :func:`labels_of`.

    Raises:
        ShapeError, LabelError: as :func:`labels_of`; LabelError also for other numbers than 0 and 1.

    >>> flags_of("is_rehearsal", [0, 1], count=2)
    tensor([False,  True])
    """
    labels = labels_of(name, given, count, device)
    if not torch.compiler.is_compiling() and bool(((labels != 0) & (labels != 1)).any()):
        other = labels[(labels != 0) & (labels != 1)][0].item()
        raise LabelError(f"{name} holds {other}, expected True and False, or 1 and 0")
    return labels.bool()


def _tensor_of(name: str, given: object) -> Tensor:
    try:
        labels = torch.tensor(given)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise LabelError(f"{name} is a {type(given).__name__}, expected a tensor of whole numbers (batch,)") from None
    return labels if labels.numel() else labels.long()


def check_mixture(permutation: Tensor, lam: Tensor) -> None:
    """Refuse what says of no mixture how it was made.

    Args:
        permutation: the partner of each row, ``(batch,)``, int64.
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
    if not isinstance(lam, Tensor) or tuple(lam.shape) != (count,) or lam.is_complex():
        shape = tuple(lam.shape) if isinstance(lam, Tensor) else type(lam).__name__
        raise ShapeError(f"lam has shape {shape}, expected one share for each row, ({count},)")
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

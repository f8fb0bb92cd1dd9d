"""Errors of training steps whose loss or input is not finite; they name the sample at fault, if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from mmcl.data.paired import batch_of
from mmcl.data.selection import sample_ids
from mmcl.errors import MMCLError, TrainingError

ErrorT = TypeVar("ErrorT", bound=MMCLError)
Named = tuple[Mapping[str, Any], Callable[[int], str]]  # a batch, and the id of each of its rows

LOWER = "lower the learning rate or set clip_norm"


def step_error(
    what: str,
    where: str,
    batches: Iterable[Named],
    error: type[ErrorT] = TrainingError,  # type: ignore[assignment]
    advice: str = LOWER,
) -> MMCLError:
    """Return the error of a failed training step.

    If an entry of a batch is not finite, the error is a TrainingError that names the entry and its sample.

    Args:
        what: fault, such as ``"the loss is nan"``.
        where: place in training, such as ``"epoch 1, step 2"``.
        batches: batches of the step, with the ids of their samples.
        error: type of the error if all inputs are finite.
        advice: next step to name in a TrainingError if all inputs are finite.

    >>> batch = {"features": torch.tensor([[1.0, 2.0], [3.0, torch.nan]])}
    >>> step_error("the loss is nan", "epoch 1, step 2", [(batch, lambda row: f"s{row}")])
    TrainingError("the loss is nan in epoch 1, step 2: 'features' of sample 's1' holds nan, expected finite numbers: ...
    >>> step_error("the loss is nan", "epoch 1, step 2", [])
    TrainingError('the loss is nan in epoch 1, step 2: lower the learning rate or set clip_norm')
    """
    found = next(filter(None, (not_finite(batch, name) for batch, name in batches)), None)
    if found is not None:
        return TrainingError(f"{what} in {where}: {found}")
    return error(f"{what}, in {where}" if error is not TrainingError else f"{what} in {where}: {advice}")


def not_finite(batch: Mapping[str, Any], name: Callable[[int], str]) -> str | None:
    """Describe the first entry of a batch that is not finite, and its sample; None if all are finite.

    Args:
        batch: tensors and other values by name; values that are not floating point are skipped.
        name: returns the id of a row.
    """
    for key, value in batch.items():
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() and not bool(value.isfinite().all()):
            rows = value.detach().reshape(len(value), -1)
            row, column = (~rows.isfinite()).nonzero()[0].tolist()
            return (
                f"'{key}' of sample '{name(row)}' holds {rows[row, column].item()}, expected finite numbers: correct "
                "or remove that sample"
            )
    return None


def samples(data: Any, rows: Sequence[int] | None = None, batch_size: int = 256) -> Iterable[Named]:
    """Yield batches of a data set's samples, with their ids; ``rows`` None stands for all samples."""
    for part in torch.as_tensor(range(len(data)) if rows is None else rows, dtype=torch.long).split(batch_size):
        yield batch_of(data, part), lambda row, part=part: sample_ids(data, [int(part[row])])[0]  # type: ignore[misc]

"""The loop that methods of unlearning share: batches of two sets, losses, a step each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.data.paired import batch_of
from mmcl.data.selection import Selection, sample_ids
from mmcl.errors import ConfigError, DataError
from mmcl.training.finite import samples
from mmcl.training.step import TrainingStep

OnEpoch = Callable[[str, int, float], None]  # name of the phase, number of the epoch from 1, mean loss


def train_epochs(
    phase: str,
    epochs: int,
    batches: Callable[[], Iterable[Any]],
    steps: Sequence[tuple[Callable[[Any], Tensor], Optimizer]],
    on_epoch: OnEpoch | None = None,
    *,
    done: int = 0,
    begin: Callable[[], Any] | None = None,
    data: Sequence[Any] = (),
) -> None:
    """Go through ``batches()`` ``epochs`` times; of each batch, take a step on every loss in turn.

    Args:
        phase: name of what is going on, for errors and ``on_epoch``.
        epochs: 0 or more.
        batches: makes the batches of an epoch.
        steps: losses of a batch, and the optimizers that take a step on them.
        on_epoch: called with phase, epoch and mean sum of losses after each.
        done: epochs before these, which count.
        begin: called at the beginning of each epoch: ``model.train`` or ``model.eval``.
        data: data sets that the batches are of, in which a sample that is not finite is looked for.

    Raises:
        ConfigError: a negative number of epochs, or several processes.
        TrainingError: a loss that is not finite; says in which step, and which sample's inputs are not.
    """
    if epochs < 0:
        raise ConfigError(f"epochs of {phase} is {epochs}, expected 0 or more")
    distributed.check_single_process(phase)
    updates = [(loss_of, TrainingStep(optimizer, advice="lower its learning rate")) for loss_of, optimizer in steps]
    for epoch in range(done + 1, done + epochs + 1):
        total, count = 0.0, 0
        if begin is not None:
            begin()
        for batch in batches():
            count += 1
            where, what = partial("epoch {}, step {}".format, epoch, count), f"the loss of {phase}"
            for loss_of, step in updates:
                with step.located(where, partial(_all_samples, data), what=f"{what}: "):
                    total += step.backward(loss_of(batch), what)
                step.update()
        if on_epoch is not None:
            on_epoch(phase, epoch, total / max(count, 1))


def _all_samples(data: Sequence[Any]) -> Iterator[Any]:
    for each in data:
        yield from samples(each)


def shuffled_batches(data: Any, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Batch]:
    """Yield batches of all samples in a random order."""
    for rows in torch.randperm(len(data)).split(batch_size):
        yield batch_of(data, rows).to(device)


def again_and_again(data: Any, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Batch]:
    """Yield batches of all samples in a random order, and then of all in another, without end."""
    while True:
        yield from shuffled_batches(data, batch_size, device)


def adam(parameters: Sequence[torch.nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """Make Adam of some parameters; raises ConfigError where there are none."""
    if not parameters:
        raise ConfigError("there are 0 parameters to train in this part of the model, expected some: unfreeze them")
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


def check_apart(remain: Any, forget: Any) -> None:
    """Raise DataError where one of two data sets is empty, or a sample is in both, which is named."""
    for name, data in (("remain", remain), ("forget", forget)):
        if data is None or not len(data):
            raise DataError(f"the set to {name} has 0 samples, expected at least 1")
    both = _shared(remain, forget)
    if both:
        shown = ", ".join(both[:5]) + (" ..." if len(both) > 5 else "")
        raise DataError(
            f"{len(both)} samples are to be kept and forgotten, expected none, first {shown}: leave them out of one set"
        )


def _shared(remain: Any, forget: Any) -> list[str]:
    """Ids of the samples that are in both: known by their rows where both are of one data set, else by these ids."""
    (source, rows), (other, other_rows) = origin(remain), origin(forget)
    if source is other:
        return sample_ids(source, sorted(set(rows) & set(other_rows)))
    return sorted(set(sample_ids(source, rows)) & set(sample_ids(other, other_rows)))


def origin(data: Any) -> tuple[Any, Sequence[int]]:
    """Return the data set that samples were selected from, and the row of each in it."""
    rows: Sequence[int] = range(len(data))
    while isinstance(data, Selection):
        rows = [data.rows[row] for row in rows]
        data = data.source
    return data, rows

"""Training loop shared by the unlearning methods: shuffled batches of two data sets and one step per loss."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.data.base import Dataset
from mmcl.data.paired import batch_of
from mmcl.data.selection import Selection, sample_ids
from mmcl.data.torch_dataset import Samples, TorchDataset, as_dataset, same_source
from mmcl.errors import ConfigError, DataError
from mmcl.training.finite import Named, samples
from mmcl.training.loss_sums import LossSums
from mmcl.training.step import TrainingStep

BatchT = TypeVar("BatchT")
OnEpoch = Callable[[str, int, float], None]  # name of the phase, epoch counted from 1, mean loss


def train_epochs(
    phase: str,
    epochs: int,
    batches: Callable[[], Iterable[BatchT]],
    steps: Sequence[tuple[Callable[[BatchT], Tensor], Optimizer]],
    on_epoch: OnEpoch | None = None,
    *,
    done: int = 0,
    begin: Callable[[], object] | None = None,
    data: Sequence[Dataset] = (),
) -> None:
    """Train for some epochs; on each batch, every loss is computed and minimized in turn.

    Args:
        phase: name of the training phase, for errors and ``on_epoch``.
        epochs: number of epochs, 0 or more.
        batches: function that returns the batches of an epoch.
        steps: loss functions of a batch, each with its optimizer.
        on_epoch: called after each epoch with phase, epoch and the mean over batches of the summed losses.
        done: number of earlier epochs of this phase, added to the epoch that is reported.
        begin: called before each epoch, such as ``model.train`` or ``model.eval``.
        data: data sets of the batches, searched for a sample to blame if a loss is not finite.

    Raises:
        ConfigError: ``epochs`` is negative, or several processes run the training.
        TrainingError: a loss is not finite; names the step, and the sample if its inputs are not finite.
    """
    if epochs < 0:
        raise ConfigError(f"epochs of {phase} is {epochs}, expected 0 or more")
    distributed.check_single_process(phase)
    sums, advice = LossSums(), "lower its learning rate"
    updates = [(loss_of, TrainingStep(optimizer, advice=advice, sums=sums)) for loss_of, optimizer in steps]
    for epoch in range(done + 1, done + epochs + 1):
        count = 0
        sums.reset()
        if begin is not None:
            begin()
        for batch in batches():
            count += 1
            where, what = partial("epoch {}, step {}".format, epoch, count), f"the loss of {phase}"
            for loss_of, step in updates:
                with step.located(where, partial(_all_samples, data), what=f"{what}: "):
                    step.backward(loss_of(batch), what)
                step.update()
        total = sums.read().get("loss", 0.0)
        if on_epoch is not None:
            on_epoch(phase, epoch, total / max(count, 1))


def _all_samples(data: Sequence[Dataset]) -> Iterator[Named]:
    for each in data:
        yield from samples(each)


def shuffled_batches(data: Dataset, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Batch]:
    """Yield batches of all samples in random order."""
    for rows in torch.randperm(len(data)).split(batch_size):
        yield batch_of(data, rows).to(device)


def endless_batches(data: Dataset, batch_size: int, device: str | torch.device = "cpu") -> Iterator[Batch]:
    """Yield shuffled batches endlessly; samples are reshuffled after each pass."""
    while True:
        yield from shuffled_batches(data, batch_size, device)


def adam(parameters: Sequence[torch.nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> Optimizer:
    """Return an Adam optimizer.

    Raises:
        ConfigError: there are no parameters.
    """
    if not parameters:
        raise ConfigError("there are 0 parameters to train in this part of the model, expected some: unfreeze them")
    return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)


def checked_sets(remain: Samples, forget: Samples) -> tuple[Dataset, Dataset]:
    """Return two data sets, made from torch data sets if necessary, after checking that they share no sample.

    Raises:
        DataError: a data set is empty, or samples are in both; names the first of them.
    """
    for name, data in (("remain", remain), ("forget", forget)):
        if data is None or not len(data):  # type: ignore[arg-type]
            raise DataError(f"the set to {name} has 0 samples, expected at least 1")
    remain, forget = as_dataset(remain), as_dataset(forget)
    shared = _shared_ids(remain, forget)
    if shared:
        shown = ", ".join(shared[:5]) + (" ..." if len(shared) > 5 else "")
        raise DataError(
            f"{len(shared)} samples are both to remain and to be forgotten, first {shown}, expected none: leave them "
            "out of one set"
        )
    return remain, forget


def _shared_ids(remain: Dataset, forget: Dataset) -> list[str]:
    """Ids of shared samples. Those of one source are compared by row, of torch data sets by input, others by id."""
    (source, rows), (other, other_rows) = origin(remain), origin(forget)
    if same_source(source, other):
        return sample_ids(source, sorted(set(rows) & set(other_rows)))
    if isinstance(source, TorchDataset) and isinstance(other, TorchDataset):
        inputs, others = source.input_digests(), other.input_digests()
        forgotten = {others[row] for row in other_rows}
        return sample_ids(source, [row for row in rows if inputs[row] in forgotten])
    if isinstance(source, TorchDataset) or isinstance(other, TorchDataset):
        return []
    return sorted(set(sample_ids(source, rows)) & set(sample_ids(other, other_rows)))


def origin(data: Dataset) -> tuple[Dataset, Sequence[int]]:
    """Return the data set behind nested selections, and the row of each sample in it."""
    rows: Sequence[int] = range(len(data))
    while isinstance(data, Selection):
        rows = [data.rows[row] for row in rows]
        data = data.source
    return data, rows

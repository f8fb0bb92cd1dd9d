"""Batches of a data set's rows: by one index operation where the data set is in memory, by a DataLoader where not."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmcl.batch import Batch, Sample, collate
from mmcl.data.base import BatchedDataset, Dataset


class BatchLoader:
    """Iterate over batches of ``rows``, in a new random order each time if ``shuffle``.

    With ``bucket`` above 1 the samples of that many batches are sorted by length before they are cut into batches,
    which then come in random order: samples of one batch are nearly as long, and little is padded.

    Each batch has ``rows`` (where its samples stand in ``source``) and ``is_rehearsal`` (which of them come from the
    memory). The order comes from torch's global generator, so a seed fixes it.

    Args:
        source: the data set.
        rows: which of its samples, ``(samples,)``.
        is_rehearsal: boolean ``(samples,)``; None for none.
        batch_size: samples a batch; the last may be smaller.
        shuffle: a new order each time, or the given one.
        workers: processes that load samples, where the data set is not in memory.
        bucket: batches whose samples are sorted by length together, where the data set knows its ``lengths``.
    """

    def __init__(
        self,
        source: Dataset,
        rows: Tensor,
        *,
        is_rehearsal: Tensor | None = None,
        batch_size: int = 32,
        shuffle: bool = True,
        workers: int = 0,
        bucket: int = 1,
    ) -> None:
        self.source = source
        self.rows = rows
        self.is_rehearsal = torch.zeros(len(rows), dtype=torch.bool) if is_rehearsal is None else is_rehearsal
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.workers = workers
        self.lengths: Tensor | None = getattr(source, "lengths", None) if bucket > 1 else None
        self.bucket = bucket

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        places = self._places()
        groups = tuple(self.rows[place] for place in places)
        for batch, chosen, place in zip(self._batches(groups), groups, places, strict=True):
            batch["rows"], batch["is_rehearsal"] = chosen, self.is_rehearsal[place]
            yield batch

    def _places(self) -> tuple[Tensor, ...]:
        """Where in ``rows`` the samples of each batch stand."""
        order = torch.randperm(len(self.rows)) if self.shuffle else torch.arange(len(self.rows))
        if self.lengths is None:
            return order.split(self.batch_size)
        lengths = self.lengths[self.rows]
        pools = order.split(self.bucket * self.batch_size)
        batches = torch.cat([pool[lengths[pool].argsort(stable=True)] for pool in pools]).split(self.batch_size)
        turns = torch.randperm(len(batches)) if self.shuffle else torch.arange(len(batches))
        return tuple(batches[turn] for turn in turns.tolist())

    def _batches(self, groups: tuple[Tensor, ...]) -> Iterator[Batch]:
        if isinstance(self.source, BatchedDataset):
            return map(self.source.batch, groups)
        samples = _Items(self.source)
        indices = [group.tolist() for group in groups]
        return iter(DataLoader(samples, batch_sampler=indices, collate_fn=collate, num_workers=self.workers))


class _Items(torch.utils.data.Dataset[Sample]):
    """The data set as torch's DataLoader wants it."""

    def __init__(self, source: Dataset) -> None:
        self.source = source

    def __getitem__(self, index: int) -> Sample:
        return self.source[index]

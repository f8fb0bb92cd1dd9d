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

    Each batch has ``rows`` (where its samples stand in ``source``) and ``is_rehearsal`` (which of them come from the
    memory). The order comes from torch's global generator, so a seed fixes it.

    Args:
        source: the data set.
        rows: which of its samples, ``(samples,)``.
        is_rehearsal: boolean ``(samples,)``; None for none.
        batch_size: samples a batch; the last may be smaller.
        shuffle: a new order each time, or the given one.
        workers: processes that load samples, where the data set is not in memory.
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
    ) -> None:
        self.source = source
        self.rows = rows
        self.is_rehearsal = torch.zeros(len(rows), dtype=torch.bool) if is_rehearsal is None else is_rehearsal
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.workers = workers

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        order = torch.randperm(len(self.rows)) if self.shuffle else torch.arange(len(self.rows))
        rows, is_rehearsal = self.rows[order], self.is_rehearsal[order]
        groups = rows.split(self.batch_size)
        flags = is_rehearsal.split(self.batch_size)
        for batch, chosen, flag in zip(self._batches(groups), groups, flags, strict=True):
            batch["rows"], batch["is_rehearsal"] = chosen, flag
            yield batch

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

"""Batches of a data set's rows: by one index operation where the data set is in memory, by a DataLoader where not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmcl import distributed
from mmcl.batch import Batch, Sample, collate
from mmcl.data.attributes import attributes_of
from mmcl.data.base import BatchedDataset, Dataset
from mmcl.data.samplers.length import length_batches
from mmcl.errors import StreamError


class BatchLoader:
    """Iterate over batches of ``rows``, in a new random order each time if ``shuffle``.

    With ``bucket`` above 1 the samples of that many batches are sorted by length before they are cut into batches,
    which then come in random order: samples of one batch are nearly as long, and little is padded.

    Each batch has ``rows`` (where its samples stand in ``source``) and ``is_rehearsal`` (which of them come from the
    memory). The order comes from torch's global generator, so a seed fixes it. Where several processes train
    (:mod:`mmcl.distributed`), each has its part of every batch.

    Args:
        source: the data set.
        rows: which of its samples, ``(samples,)``.
        is_rehearsal: boolean ``(samples,)``; None for none.
        batch_size: samples a batch; the last may be smaller.
        shuffle: a new order each time, or the given one.
        workers: processes that load samples, where the data set is not in memory.
        bucket: batches whose samples are sorted by length together, where the data set knows its ``lengths``.
        parted: give each process its part of every batch; False gives all of it to each.

    Attributes:
        whole: of the current batch with the parts of all processes, which are rehearsal samples, ``(batch,)``.
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
        parted: bool = False,
    ) -> None:
        self.source = source
        self.rows = rows
        self.is_rehearsal = torch.zeros(len(rows), dtype=torch.bool) if is_rehearsal is None else is_rehearsal
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.workers = workers
        self.lengths: Tensor | None = attributes_of(source).lengths if bucket > 1 else None
        self.bucket = bucket
        self.parted = parted and distributed.world_size() > 1
        self.whole = torch.empty(0, dtype=torch.bool)

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return max(full + (rest >= self._least), 1)

    def __iter__(self) -> Iterator[Batch]:
        whole = self._places()
        if self.parted:
            whole = self._joined(distributed.broadcast_object(whole))
        parts = [(distributed.shard(everyone) if self.parted else everyone, everyone) for everyone in whole]
        parts = [part for part in parts if len(part[0])]  # in tests a process may be left without
        groups = tuple(self.rows[place] for place, _ in parts)
        for batch, chosen, (place, everyone) in zip(self._batches(groups), groups, parts, strict=True):
            batch["rows"], batch["is_rehearsal"] = chosen, self.is_rehearsal[place]
            self.whole = self.is_rehearsal[everyone]
            yield batch

    @property
    def _least(self) -> int:
        """Samples of a batch, below which it joins another: in training each process has one at least."""
        return distributed.world_size() if self.parted and self.shuffle else 1

    def _joined(self, batches: Sequence[Tensor]) -> tuple[Tensor, ...]:
        small = [batch for batch in batches if len(batch) < self._least]
        large = [batch for batch in batches if len(batch) >= self._least]
        if small and not large:
            raise StreamError(
                f"there are {len(self.rows)} samples for {distributed.world_size()} processes, expected one for each"
            )
        return (*large[:-1], torch.cat([large[-1], *small])) if small else tuple(batches)

    def _places(self) -> tuple[Tensor, ...]:
        """Where in ``rows`` the samples of each batch stand."""
        order = torch.randperm(len(self.rows)) if self.shuffle else torch.arange(len(self.rows))
        if self.lengths is None:
            return order.split(self.batch_size)
        lengths = self.lengths[self.rows].tolist()
        batches = length_batches(order.tolist(), lengths, batch_size=self.batch_size, bucket=self.bucket)
        turns = torch.randperm(len(batches)) if self.shuffle else torch.arange(len(batches))
        return tuple(torch.tensor(batches[turn]) for turn in turns.tolist())

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

"""BatchLoader: shuffled, bucketed and sharded batches of a data set."""

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

    A data set in memory is indexed once per batch. Others are read by a torch ``DataLoader``.

    With ``bucket`` above 1, the samples of that many batches are sorted by length before they are split into batches.
    The batches are then shuffled. Samples of a batch have similar lengths, which reduces padding.

    Each batch has ``rows`` (row numbers in ``source``) and ``is_rehearsal`` (True for samples from the memory). The
    order comes from torch's global generator, so a seed fixes it.

    Args:
        source: the data set.
        rows: row numbers in the data set, ``(samples,)``.
        is_rehearsal: boolean ``(samples,)``; None if no sample is rehearsed.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: draw a new order each time, instead of the order of ``rows``.
        workers: processes that load samples, if the data set is not in memory.
        bucket: batches whose samples are sorted by length together, if the data set has ``lengths``.
        sharded: give each process (:mod:`mmcl.distributed`) a shard of every batch instead of all of it.

    Attributes:
        own_is_rehearsal: ``is_rehearsal`` of the current batch, which stays on the CPU.
        global_is_rehearsal: the same over all processes.

    Raises:
        StreamError: in iteration, a sharded loader has fewer samples than processes.
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
        sharded: bool = False,
    ) -> None:
        self.source = source
        self.rows = rows
        self.is_rehearsal = torch.zeros(len(rows), dtype=torch.bool) if is_rehearsal is None else is_rehearsal
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.workers = workers
        self.lengths: Tensor | None = attributes_of(source).lengths if bucket > 1 else None
        self.bucket = bucket
        self.sharded = sharded and distributed.world_size() > 1
        self.own_is_rehearsal = self.global_is_rehearsal = torch.empty(0, dtype=torch.bool)

    @property
    def rehearsed(self) -> list[int]:
        """Positions of the samples from the memory in the current batch."""
        return [position for position, flag in enumerate(self.own_is_rehearsal.tolist()) if flag]

    @property
    def rehearses(self) -> bool:
        """Whether the current batch has a sample from the memory, over all processes."""
        return any(self.global_is_rehearsal.tolist())

    def __len__(self) -> int:
        full, rest = divmod(len(self.rows), self.batch_size)
        return max(full + (rest >= self._min_size), 1)

    def __iter__(self) -> Iterator[Batch]:
        global_batches = self._positions()
        if self.sharded:
            global_batches = self._merge_small(distributed.broadcast_object(global_batches))
        shards = [(distributed.shard(batch) if self.sharded else batch, batch) for batch in global_batches]
        shards = [pair for pair in shards if len(pair[0])]  # in evaluation, a shard may be empty
        groups = tuple(self.rows[shard] for shard, _ in shards)
        for batch, rows, (shard, global_batch) in zip(self._batches(groups), groups, shards, strict=True):
            self.own_is_rehearsal = self.is_rehearsal[shard]
            self.global_is_rehearsal = self.is_rehearsal[global_batch] if self.sharded else self.own_is_rehearsal
            batch["rows"], batch["is_rehearsal"] = rows, self.own_is_rehearsal
            yield batch

    @property
    def _min_size(self) -> int:
        """Smallest batch that is not merged with another: in training, every process needs a sample."""
        return distributed.world_size() if self.sharded and self.shuffle else 1

    def _merge_small(self, batches: Sequence[Tensor]) -> tuple[Tensor, ...]:
        small = [batch for batch in batches if len(batch) < self._min_size]
        large = [batch for batch in batches if len(batch) >= self._min_size]
        if small and not large:
            raise StreamError(
                f"there are {len(self.rows)} samples for {distributed.world_size()} processes: expected at least one "
                "sample for each process"
            )
        return (*large[:-1], torch.cat([large[-1], *small])) if small else tuple(batches)

    def _positions(self) -> tuple[Tensor, ...]:
        """Positions in ``rows`` of the samples of each batch."""
        order = torch.randperm(len(self.rows)) if self.shuffle else torch.arange(len(self.rows))
        if self.lengths is None:
            return order.split(self.batch_size)
        lengths = self.lengths[self.rows].tolist()
        batches = length_batches(order.tolist(), lengths, batch_size=self.batch_size, bucket=self.bucket)
        batch_order = torch.randperm(len(batches)) if self.shuffle else torch.arange(len(batches))
        return tuple(torch.tensor(batches[index]) for index in batch_order.tolist())

    def _batches(self, groups: tuple[Tensor, ...]) -> Iterator[Batch]:
        if isinstance(self.source, BatchedDataset):
            return map(self.source.batch, groups)
        samples = _Items(self.source)
        indices = [group.tolist() for group in groups]
        return iter(DataLoader(samples, batch_sampler=indices, collate_fn=collate, num_workers=self.workers))


def on_device(batch: Batch, device: torch.device) -> Batch:
    """Move a batch, but for entries that are read on the CPU, without a wait: ``rows`` and ``<view>_missing``.

    >>> on_device(Batch(rows=torch.tensor([3]), label=torch.tensor([0])), torch.device("cpu"))
    {'rows': tensor([3]), 'label': tensor([0])}
    """
    stay = {name for name in batch if name == "rows" or name.endswith("_missing")}
    going = Batch({name: value for name, value in batch.items() if name not in stay}).to(device)
    return Batch({name: value if name in stay else going[name] for name, value in batch.items()})


class _Items(torch.utils.data.Dataset[Sample]):
    """Adapter of a data set to torch's ``Dataset``."""

    def __init__(self, source: Dataset) -> None:
        self.source = source

    def __getitem__(self, index: int) -> Sample:
        return self.source[index]

"""MemoryBudget: how many samples fit into a memory of a number of bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Protocol, runtime_checkable

from mmcl.data.base import Dataset
from mmcl.errors import ConfigError
from mmcl.strategies.kept_memory import sample_bytes


@runtime_checkable
class StoresWithSamples(Protocol):
    """A plugin that stores something with each sample in memory, such as its logits."""

    def bytes_per_sample(self, classes: int) -> int:
        """Return the bytes that it stores with a sample, given the number of classes of the data."""
        ...


class MemoryBudget:
    """Number of samples that fit into a memory of ``limit`` bytes.

    A sample counts as in :func:`~mmcl.strategies.kept_memory.sample_bytes`, with what plugins store for it.

    Args:
        limit: size of the memory in bytes.
        source: the data set. Every sample is read once.
        plugins: plugins of the strategy.

    Attributes:
        most: largest number of samples that can fit.

    Raises:
        ConfigError: a sample has no tensors, so its size is unknown.
    """

    def __init__(self, limit: int, source: Dataset, plugins: Iterable[object]) -> None:
        stored = [each for each in plugins if isinstance(each, StoresWithSamples)]
        beside = sum(each.bytes_per_sample(len(source.classes)) for each in stored)
        own = [sample_bytes(source, [row]) for row in range(len(source))]
        if min(own) == 0:
            raise ConfigError(
                f"memory_bytes is {limit:,}, but sample {own.index(0)} has no tensor to count: set memory_size, the "
                "number of samples, instead"
            )
        self.limit, self._bytes = limit, [each + beside for each in own]
        self.most = limit // min(self._bytes)

    def require(self, count: int, unit: str) -> None:
        """Check that one sample of each class or superclass fits.

        Raises:
            ConfigError: it may not.
        """
        largest = max(self._bytes)
        if count * largest > self.limit:
            raise ConfigError(
                f"memory_bytes is {self.limit:,} for {count} {unit}, but a sample takes up to {largest:,} bytes: "
                f"expected at least {count * largest:,}, one sample of each, or memory_size=0 without memory_bytes"
            )

    def fitting(self, memory: Mapping[int, Sequence[int]]) -> int:
        """Return the largest number of samples that fits, with equal shares of the labels.

        Args:
            memory: label -> rows of the data set, best first.
        """
        sums = [list(accumulate((self._bytes[row] for row in rows), initial=0)) for rows in memory.values()]

        def needed(count: int) -> int:
            shares = equal_shares(count, len(sums))
            return sum(own[min(share, len(own) - 1)] for own, share in zip(sums, shares, strict=True))

        return bisect_right(range(self.most + 1), self.limit, key=needed) - 1


def equal_shares(count: int, parts: int) -> list[int]:
    """Divide a number into equal parts; the first ones are larger by one if it is not divisible.

    >>> equal_shares(8, 3)
    [3, 3, 2]
    """
    share, larger = divmod(count, parts)
    return [share + (number < larger) for number in range(parts)]

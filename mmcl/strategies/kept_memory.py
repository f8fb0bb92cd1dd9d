"""What a strategy keeps of earlier experiences: bytes of exemplars and of statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from mmcl.data.base import Dataset


@runtime_checkable
class KeepsMemory(Protocol):
    """A plugin that keeps samples or statistics from one experience to the next."""

    def kept_bytes(self) -> int:
        """Return the number of bytes kept."""
        ...


def kept_bytes(plugins: Sequence[object]) -> int:
    """Return the bytes of exemplars and statistics that plugins keep.

    Copies of the model, such as a teacher, are not counted.

    >>> kept_bytes([])
    0
    """
    return sum(plugin.kept_bytes() for plugin in plugins if isinstance(plugin, KeepsMemory))


def sample_bytes(source: Dataset, rows: Sequence[int]) -> int:
    """Return the bytes of the tensors of samples, as the model takes them.

    For a frozen encoder with cached features these are the features, for others the recordings or images.

    Args:
        source: the data set.
        rows: rows of the data set.
    """
    tensors = (value for row in rows for value in source[row].values() if isinstance(value, Tensor))
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

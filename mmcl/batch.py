"""Samples, batches and collation, with named entries and padded sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmcl.arguments import require_tensors
from mmcl.errors import ShapeError

if TYPE_CHECKING:
    from mmcl.data.base import Entity


class Sample(TypedDict, total=False):
    """One example. Keys that a data set does not provide are absent, never None.

    ``audio`` is a mono waveform ``(samples,)`` in [-1, 1] at the data set's sample rate. ``features`` is the output of
    a frozen encoder, ``(dim,)`` or ``(frames, dim)``. ``label`` is the index of the class. ``target`` is the number
    to predict of a regression. ``text`` is the transcript or description. ``entities`` are the slots of an utterance in
    spoken order.
    """

    id: str
    audio: Tensor
    features: Tensor
    image: Tensor
    text: str
    label: int
    target: float
    entities: tuple[Entity, ...]
    speaker: str


class Batch(dict[str, Any]):
    """A batch of samples: tensors are stacked or padded, other values are lists.

    A padded entry ``name`` comes with ``name_lengths``; :meth:`mask` converts these to a boolean mask.
    """

    @property
    def size(self) -> int:
        """Number of samples in the batch."""
        return len(next(iter(self.values()))) if self else 0

    def mask(self, name: str) -> Tensor:
        """Return a mask ``(batch, time)`` that is True where entry ``name`` has data and False in padding.

        >>> batch = collate([{"audio": torch.ones(2)}, {"audio": torch.ones(3)}])
        >>> batch.mask("audio").tolist()
        [[True, True, False], [True, True, True]]
        """
        return length_mask(self[f"{name}_lengths"], self[name].shape[1])

    def select(self, chosen: Tensor) -> Batch:
        """Return the samples where the boolean mask ``chosen``, ``(batch,)``, is True.

        >>> Batch(label=torch.tensor([4, 5]), text=["a", "b"]).select(torch.tensor([False, True]))
        {'label': tensor([5]), 'text': ['b']}
        """
        keep = chosen.tolist()
        return Batch(
            {
                name: value[chosen]
                if isinstance(value, Tensor)
                else [v for v, kept in zip(value, keep, strict=True) if kept]
                for name, value in self.items()
            }
        )

    def take(self, positions: Sequence[int]) -> Batch:
        """Return the samples at ``positions``; unlike a mask on a GPU, they are selected without waiting for it.

        >>> Batch(label=torch.tensor([4, 5]), text=["a", "b"]).take([1])
        {'label': tensor([5]), 'text': ['b']}
        """
        index = torch.tensor(positions, dtype=torch.long)
        return Batch(
            {
                name: value[moved(index, value.device)] if isinstance(value, Tensor) else [value[i] for i in positions]
                for name, value in self.items()
            }
        )

    def to(self, device: torch.device | str) -> Batch:
        """Move all tensors to ``device``, see :func:`moved`."""
        device = torch.device(device)
        return Batch({k: moved(v, device) if isinstance(v, Tensor) else v for k, v in self.items()})


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on ``device``; a copy from the CPU to a GPU does not wait for the GPU's queued work."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_initialized():
        tensor = tensor.pin_memory()  # only page-locked memory is copied without waiting
    return tensor.to(device, non_blocking=device.type != "cpu")


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Return a boolean mask ``(batch, size)`` that is True up to each row's length.

    >>> length_mask(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def collate(samples: Sequence[Sample] | Sequence[Mapping[str, Any]]) -> Batch:
    """Collate samples into a :class:`Batch`: pad sequences with zeros, stack other tensors, list the rest.

    Only keys that all samples have are kept. One-dimensional ``audio`` and two-dimensional ``features`` are sequences:
    they are padded to the longest one, and ``<name>_lengths`` ``(batch,)`` is added.

    Raises:
        ShapeError: there are no samples, or tensors of one name differ in more than their length.
        InputError: a value is a NumPy array.

    >>> batch = collate([{"audio": torch.ones(2), "label": 3}, {"audio": torch.ones(4), "label": 1}])
    >>> batch["audio"].shape, batch["audio_lengths"].tolist(), batch["label"].tolist()
    (torch.Size([2, 4]), [2, 4], [3, 1])
    """
    if not samples:
        raise ShapeError(
            "collate got 0 samples, expected at least 1: check that the data set or experience is not empty"
        )
    batch = Batch()
    for name in samples[0]:
        if not all(name in sample for sample in samples):
            continue
        values = [sample[name] for sample in samples]  # type: ignore[literal-required]
        if type(values[0]).__module__ == "numpy" and hasattr(values[0], "shape") and values[0].shape:
            require_tensors(**{f"{name} of a sample": values[0]})
        if isinstance(values[0], Tensor):
            is_sequence = (name == "audio" and values[0].dim() == 1) or (name == "features" and values[0].dim() == 2)
            shapes = {tuple(value.shape[1:]) if is_sequence else tuple(value.shape) for value in values}
            if len(shapes) > 1 or len({value.dim() for value in values}) > 1:
                raise ShapeError(
                    f"samples of one batch have {name} of shapes {sorted(map(str, shapes))}: expected equal shapes"
                )
            if is_sequence:
                batch[name] = pad_sequence(values, batch_first=True)
                batch[f"{name}_lengths"] = torch.tensor([len(value) for value in values])
            else:
                batch[name] = torch.stack(values)
        elif isinstance(values[0], (bool, int, float)):
            batch[name] = torch.tensor(values)
        else:
            batch[name] = values
    return batch

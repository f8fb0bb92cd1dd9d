"""Adapter of torch data sets, such as ``TensorDataset``, to the data sets of mmcl."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from mmcl.batch import Batch, Sample, collate
from mmcl.config.whole_numbers import class_labels, whole_numbers
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.errors import DataError, LabelError

Samples: TypeAlias = Dataset | torch.utils.data.Dataset[Any] | Sequence[tuple[Tensor, Any]]
"""A data set of mmcl, or a torch data set of pairs ``(input, label)``."""

_USE = "use torch.utils.data.TensorDataset(torch.as_tensor(inputs), torch.as_tensor(labels))"


class TorchDataset:
    """A torch data set of pairs ``(input, label)`` as a data set of mmcl.

    A sample has its label, its input and the name of its class as ``text``. An input of three dimensions
    ``(channels, height, width)`` is the entry ``image``; any other input is the entry ``features``.

    Args:
        data: ``TensorDataset``, a list of pairs, a data set of torchvision, or any sequence of pairs. Labels are read
            from its ``targets`` or ``labels`` if it has them.
        classes: class names by label; None for those of the data set, or else the labels as strings.

    Attributes:
        data: as passed.
        labels: label of each sample, read when first used.
        texts: class name of each sample.
        ids: row of each sample, as a string.

    Raises:
        DataError: the data is not a sequence of pairs of a tensor and a label, or is empty.
        LabelError: a label is negative, not an integer, or beyond the class names.

    >>> from torch.utils.data import TensorDataset
    >>> data = TorchDataset(TensorDataset(torch.zeros(3, 8), torch.tensor([0, 2, 1])))
    >>> data.classes, data[1]["label"], data[1]["features"].shape
    (('0', '1', '2'), 2, torch.Size([8]))
    """

    def __init__(self, data: Samples, classes: Sequence[str] | None = None) -> None:
        name = type(data).__name__
        if isinstance(data, (Tensor, str, Mapping)) or not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
            raise DataError(f"the data is a {name}, expected a data set of pairs (input, label): {_USE}")
        if type(data).__module__ == "numpy":
            raise DataError(f"the data is a numpy {name}, expected a data set of pairs (input, label): {_USE}")
        self.data: Sequence[object] = data  # type: ignore[assignment]
        if not len(self.data):
            raise DataError(f"the {name} has 0 samples, expected at least 1")
        self._classes = None if classes is None else tuple(classes)

    @cached_property
    def labels(self) -> list[int]:
        """Label of each sample."""
        return class_labels(list(_labels_of(self.data)))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        names, count = self._classes or getattr(self.data, "classes", None) or (), max(self.labels) + 1
        if self._classes is not None and len(self._classes) < count:
            raise LabelError(f"label {count - 1} is beyond the {len(self._classes)} class names")
        return tuple(map(str, names if len(names) >= count else range(count)))

    @property
    def texts(self) -> list[str]:
        """Class name of each sample."""
        return [self.classes[label] for label in self.labels]

    @property
    def ids(self) -> list[str]:
        """Row of each sample, as a string."""
        return [str(row) for row in range(len(self))]

    @property
    def arrays(self) -> list[Tensor]:
        """Inputs that are in memory, which identify samples by content."""
        return [self.data.tensors[0]] if isinstance(self.data, TensorDataset) else []

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Sample:
        item = self.data[index]
        if isinstance(item, Mapping):  # a sample of an mmcl data set within an Avalanche one
            return Sample(**item)  # type: ignore[typeddict-item]
        value, label = _pair(item, index)
        sample: Sample = {"image": value} if value.dim() == 3 else {"features": value}
        if label is not None:
            (sample["label"],) = whole_numbers([label], "labels", error=LabelError)
            sample["text"] = self.classes[sample["label"]]
        return sample

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        if not isinstance(self.data, TensorDataset):
            return collate([self[row] for row in rows.tolist()])
        inputs = _tensor(self.data.tensors[0], "the inputs")[rows]
        batch = Batch({"image" if inputs.dim() == 4 else "features": inputs})
        if inputs.dim() == 3:
            batch["features_lengths"] = torch.full((len(rows),), inputs.shape[1])
        if len(self.data.tensors) > 1:
            labels = [self.labels[row] for row in rows.tolist()]
            batch |= {"label": torch.tensor(labels), "text": [self.classes[label] for label in labels]}
        return batch

    def input_digests(self) -> list[str]:
        """Return a digest of the input of each sample, without reading labels."""
        inputs = (_input(self[row] if isinstance(item, Mapping) else item, row) for row, item in _items(self.data))
        return [_digest(each) for each in inputs]


def is_torch_dataset(data: object) -> bool:
    """Whether data lacks the members of a data set of mmcl; reads no labels."""
    missing = object()
    static = inspect.getattr_static(data, "texts", missing)
    return static is missing and not hasattr(data, "texts")


def as_dataset(data: Samples, classes: Sequence[str] | None = None) -> Dataset:
    """Return a data set of mmcl, made from a torch data set if necessary.

    A ``Subset`` becomes a :class:`~mmcl.data.selection.Selection` of its data set.

    Args:
        data: data set of mmcl, or torch data set; see :class:`TorchDataset`.
        classes: class names of a torch data set; see :class:`TorchDataset`.

    Raises:
        DataError: the data is neither.
        LabelError: a label is negative or not an integer.

    >>> pairs = [(torch.zeros(4), 0), (torch.ones(4), 1)]
    >>> as_dataset(pairs).labels
    [0, 1]
    """
    if not is_torch_dataset(data):
        return data  # type: ignore[return-value]
    if isinstance(data, Subset):
        return Selection(as_dataset(data.dataset, classes), list(data.indices))
    return TorchDataset(data, classes)


def as_splits(*splits: Samples) -> list[Dataset]:
    """Return data sets of mmcl from splits of one torch data set, with classes for the labels of all splits.

    >>> train, test = as_splits([(torch.zeros(4), 0)], [(torch.ones(4), 1)])
    >>> train.classes, test.classes
    (('0', '1'), ('0', '1'))
    """
    found = [as_dataset(each) for each in splits]
    if not any(is_torch_dataset(each) for each in splits):
        return found
    names = max((each.classes for each in found), key=len)
    return [as_dataset(each, names) for each in splits]


def same_source(one: Dataset, other: Dataset) -> bool:
    """Whether two data sets are the same object, or adapters of the same object."""
    if isinstance(one, TorchDataset) and isinstance(other, TorchDataset):
        return one.data is other.data
    return one is other


def _labels_of(data: object) -> Iterator[object]:
    if isinstance(data, TensorDataset):
        if len(data.tensors) < 2:
            raise DataError("the TensorDataset has no labels, expected TensorDataset(inputs, labels)")
        yield from data.tensors[1].tolist()
    elif isinstance(data, Subset):
        labels = list(_labels_of(data.dataset))
        yield from (labels[index] for index in data.indices)
    elif isinstance(data, ConcatDataset):
        for part in data.datasets:
            yield from _labels_of(part)
    elif (listed := _listed(data)) is not None:
        yield from listed
    else:
        for row, item in _items(data):
            label = item.get("label") if isinstance(item, Mapping) else _pair(item, row)[1]
            if label is None:
                raise DataError(f"sample {row} has no label, expected a pair (input, label)")
            yield label


def _listed(data: object) -> list[object] | None:
    """Labels that a data set lists, as those of torchvision and Avalanche do."""
    for name in ("targets", "labels"):
        found = getattr(data, name, None)
        if found is not None and len(found) == len(data):  # type: ignore[arg-type]
            return list(found.tolist() if hasattr(found, "tolist") else found)
    return None


def _items(data: object) -> Iterator[tuple[int, object]]:
    for row in range(len(data)):  # type: ignore[arg-type]
        yield row, data[row]  # type: ignore[index]


def _pair(item: object, row: int) -> tuple[Tensor, object]:
    """Input and label of a sample; the label is None if the sample has none."""
    if isinstance(item, Tensor):
        raise DataError(f"sample {row} is a Tensor, expected a pair (input, label): {_USE}")
    if not isinstance(item, Sequence) or isinstance(item, str) or not len(item):
        raise DataError(f"sample {row} is a {type(item).__name__}, expected a pair (input, label): {_USE}")
    return _tensor(item[0], f"the input of sample {row}"), item[1] if len(item) > 1 else None


def _tensor(value: object, name: str) -> Tensor:
    if not isinstance(value, Tensor):
        raise DataError(
            f"{name} is a {type(value).__name__}, expected a tensor: use torch.as_tensor, or a transform such as "
            "torchvision.transforms.ToTensor()"
        )
    return value.reshape(1) if value.dim() == 0 else value


def _input(item: object, row: int) -> Tensor:
    if isinstance(item, Mapping):
        return next(value for value in item.values() if isinstance(value, Tensor))
    return _pair(item, row)[0]


def _digest(value: Tensor) -> str:
    content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return blake2b(content.tobytes() + str((tuple(value.shape), value.dtype)).encode(), digest_size=16).hexdigest()

"""PairedDataset: two modalities of the same samples, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmcl.batch import Batch, collate
from mmcl.data.base import Dataset
from mmcl.errors import DataError


class PairedDataset:
    """Samples of two data sets of which row i of one belongs to row i of the other.

    Both may be one data set whose samples have both modalities, or two of cached features.

    Args:
        first, second: data sets of equal length.

    Attributes:
        texts: of the samples.
        labels: of the samples, ``(samples,)``.
        lengths: steps of the longer side's features, ``(samples,)``, where both know or one does; else None.

    Raises:
        DataError: there is no sample, or the lengths or texts differ.

    >>> class Said:
    ...     classes, labels, texts = ("on", "off"), [0, 1], ["on", "off"]
    ...     def __len__(self): return 2
    ...     def __getitem__(self, row): return {"text": self.texts[row], "audio": torch.ones(row + 1)}
    >>> pairs = PairedDataset(Said(), Said())
    >>> first, second = pairs.batch(torch.tensor([1, 0]))
    >>> first["audio"].shape, second["text"]
    (torch.Size([2, 2]), ['off', 'on'])
    """

    def __init__(self, first: Dataset, second: Dataset) -> None:
        if len(first) != len(second):
            raise DataError(
                f"there are {len(first)} samples of one side and {len(second)} of the other, expected pairs"
            )
        if not len(first):
            raise DataError("there are 0 pairs, expected at least 1: check the data set's folder and split")
        if list(first.texts) != list(second.texts):
            row = next(i for i, (a, b) in enumerate(zip(first.texts, second.texts, strict=True)) if a != b)
            raise DataError(
                f"pair {row} has text {first.texts[row]!r} on one side and {second.texts[row]!r} on the other: "
                "expected the same samples in the same order"
            )
        self.first, self.second = first, second
        self.texts: Sequence[str] = list(first.texts)
        self.labels = torch.tensor(list(first.labels), dtype=torch.long)
        known = [lengths for side in (first, second) if (lengths := getattr(side, "lengths", None)) is not None]
        self.lengths: Tensor | None = torch.stack(known).amax(0) if known else None
        number = {text: place for place, text in enumerate(dict.fromkeys(self.texts))}
        self._text = torch.tensor([number[text] for text in self.texts])
        self._distinct = len(number)

    def __len__(self) -> int:
        return len(self.texts)

    def batch(self, rows: Tensor) -> tuple[Batch, Batch]:
        """The batches of both sides of samples ``rows``, ``(batch,)``."""
        first = batch_of(self.first, rows)
        return first, first if self.second is self.first else batch_of(self.second, rows)

    def first_of_each_text(self) -> Tensor:
        """Return one row of each text, the first, in their order."""
        return (
            torch.tensor(list({text: row for row, text in reversed(list(enumerate(self.texts)))}.values()))
            .sort()
            .values
        )

    def shuffled(self, *, distinct: bool = False) -> Tensor:
        """Return all rows in a random order, or, with ``distinct``, a random one of those of each text.

        Two samples of one text are no negatives of each other, which most objectives take them for.
        """
        order = torch.randperm(len(self))
        if not distinct:
            return order
        first = torch.full((self._distinct,), len(self)).scatter_reduce_(
            0, self._text[order], torch.arange(len(self)), "amin"
        )
        return order[first.sort().values]


def batch_of(dataset: Dataset, rows: Tensor) -> Batch:
    """Return the batch of samples ``rows``, ``(batch,)``, of any data set."""
    make: Callable[[Tensor], Batch] | None = getattr(dataset, "batch", None)  # isinstance would read the labels
    if make is not None:
        return make(rows)
    return collate([dataset[row] for row in rows.tolist()])

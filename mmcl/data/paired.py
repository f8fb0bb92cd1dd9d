"""Pairs of samples from two data sets, such as speech and its transcript."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.batch import Batch, collate
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset, MakesBatches
from mmcl.data.regression_set import check_targets
from mmcl.data.torch_dataset import Samples, as_dataset, as_splits
from mmcl.errors import DataError


class PairedDataset:
    """Pair sample i of one data set with sample i of another.

    Both sides may be the same data set if its samples have both modalities.

    Args:
        first, second: data sets of equal length with equal texts, or torch data sets of pairs ``(input, label)`` with
            equal labels. Without a second, samples are compared with further
            views of themselves.

    Attributes:
        sides: the data sets.
        bags: number of the bag of each pair, ``(samples,)``; None if the first data set has no bags.
        texts: text of each pair.
        labels: label of each pair, ``(samples,)``.
        targets: number to predict of each pair, ``(samples,)``; None if the first data set has no targets.
        lengths: number of time steps of the longer side, ``(samples,)``; None if neither side has lengths.
        negative_views: number of views, the last ones, that are hard negatives; 0 for most data.
        is_support: whether a row is of the support of an episode; None without episodes, see
            :class:`~mmcl.data.episodes.EpisodicDataset`.

    Raises:
        DataError: there are no samples, the numbers of samples or the texts differ, or targets are not finite or all
            equal.

    >>> class Said:
    ...     classes, labels, texts = ("on", "off"), [0, 1], ["on", "off"]
    ...     def __len__(self): return 2
    ...     def __getitem__(self, row): return {"text": self.texts[row], "audio": torch.ones(row + 1)}
    >>> pairs = PairedDataset(Said(), Said())
    >>> first, second = pairs.batch(torch.tensor([1, 0]))
    >>> first["audio"].shape, second["text"]
    (torch.Size([2, 2]), ['off', 'on'])
    """

    is_support: Tensor | None = None

    def __init__(self, first: Samples, second: Samples | None = None) -> None:
        self.sides = (as_dataset(first),) if second is None else tuple(as_splits(first, second))
        first, second = self.sides[0], self.sides[-1]  # which may be made from torch data sets
        if len(first) != len(second):
            raise DataError(
                f"the first side has {len(first)} samples and the second {len(second)}, expected equal numbers"
            )
        if not len(first):
            raise DataError("there are 0 pairs, expected at least 1: check the data set's folder and split")
        if list(first.texts) != list(second.texts):
            row = next(i for i, (a, b) in enumerate(zip(first.texts, second.texts, strict=True)) if a != b)
            raise DataError(
                f"pair {row} has text {first.texts[row]!r} on one side and {second.texts[row]!r} on the other: "
                "expected the same samples in the same order"
            )
        bags = attributes_of(first).bags
        self.bags = None if bags is None else torch.as_tensor(bags, dtype=torch.long)
        targets = attributes_of(first).targets
        if targets is not None:
            check_targets(targets, "the data set")
        self.targets = None if targets is None else torch.tensor(targets, dtype=torch.float32)
        self.negative_views = attributes_of(first).negative_views
        self.texts: Sequence[str] = list(first.texts)
        self.labels = torch.tensor(list(first.labels), dtype=torch.long)
        known = [lengths for side in self.sides if (lengths := attributes_of(side).lengths) is not None]
        self.lengths: Tensor | None = torch.stack(known).amax(0) if known else None
        number = {text: place for place, text in enumerate(dict.fromkeys(self.texts))}
        self._text = torch.tensor([number[text] for text in self.texts])
        self._distinct = len(number)

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def first(self) -> Dataset:
        """The first side."""
        return self.sides[0]

    @property
    def second(self) -> Dataset:
        """The last side; the first one if it is alone."""
        return self.sides[-1]

    def batch(self, rows: Tensor) -> tuple[Batch, ...]:
        """Return the batch of each side for samples ``rows``, ``(batch,)``."""
        rows = self.samples_of(rows)
        first = batch_of(self.first, rows)
        return (first, *(first if side is self.first else batch_of(side, rows) for side in self.sides[1:]))

    def samples_of(self, rows: Tensor) -> Tensor:
        """Return the sample of each row of a batch."""
        return rows

    def batches(self, batch_size: int, *, distinct: bool = False) -> list[Tensor]:
        """Return the rows of an epoch's batches in random order.

        A last batch that is smaller than the others is left out.

        Args:
            batch_size: rows of a batch.
            distinct: take one random row of each text.
        """
        batches = list(self.shuffled(distinct=distinct).split(batch_size))
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) < batch_size else batches

    def first_of_each_text(self) -> Tensor:
        """Return the first row of each distinct text, in increasing order."""
        return (
            torch.tensor(list({text: row for row, text in reversed(list(enumerate(self.texts)))}.values()))
            .sort()
            .values
        )

    def shuffled(self, *, distinct: bool = False) -> Tensor:
        """Return all rows in random order, or with ``distinct`` one random row per text.

        Most objectives treat all other pairs of a batch as negatives, which is wrong for pairs with the same text.
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
    if isinstance(dataset, MakesBatches):
        return dataset.batch(rows)
    return collate([dataset[row] for row in rows.tolist()])

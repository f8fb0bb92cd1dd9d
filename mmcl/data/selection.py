"""Selection: some samples of a data set, as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.base import Dataset
from mmcl.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from mmcl.batch import Batch, Sample


class Selection:
    """Samples of a data set by row, in the order given; with other labels, where these are given.

    Nothing is copied, and no label is read before it is asked for.

    Args:
        source: the data set.
        rows: which of its samples, each at most once.
        labels: one for each of ``rows``, in place of their own.

    Attributes:
        source, rows: as given.

    Raises:
        DataError: there is no row, one is not in the data set or there twice, or labels are not as many.

    >>> class Said:
    ...     classes, labels, texts = ("on", "off"), [0, 1, 0], ["on", "off", "on"]
    ...     def __len__(self): return 3
    ...     def __getitem__(self, row): return {"id": f"u{row}", "label": self.labels[row], "text": self.texts[row]}
    >>> chosen = Selection(Said(), [2, 1])
    >>> chosen.labels, chosen.ids, Selection(Said(), [2], labels=[1])[0]["label"]
    ([0, 1], ['u2', 'u1'], 1)
    """

    def __init__(self, source: Dataset, rows: Sequence[int], labels: Sequence[int] | None = None) -> None:
        self.source, self.rows = source, whole_numbers(rows, "rows", error=DataError)
        if not self.rows:
            raise DataError("a selection has 0 samples, expected at least 1")
        outside = [row for row in self.rows if not 0 <= row < len(source)]
        if outside or len(set(self.rows)) < len(self.rows):
            wrong = f"row {outside[0]}" if outside else "a row twice"
            raise DataError(f"a selection has {wrong}, expected rows of 0 to {len(source) - 1}, each once")
        labels = None if labels is None else whole_numbers(labels, "labels", error=DataError)
        if labels is not None and len(labels) != len(self.rows):
            raise DataError(f"a selection has {len(labels)} labels for {len(self.rows)} rows, expected as many")
        self._labels = labels

    @property
    def classes(self) -> Sequence[str]:
        """Those of the data set."""
        return self.source.classes

    @property
    def labels(self) -> Sequence[int]:
        """Of the samples."""
        return [self.source.labels[row] for row in self.rows] if self._labels is None else self._labels

    @property
    def texts(self) -> Sequence[str]:
        """Of the samples."""
        return [self.source.texts[row] for row in self.rows]

    @property
    def ids(self) -> list[str]:
        """Of the samples."""
        return sample_ids(self.source, self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[self.rows[index]]
        if self._labels is not None:
            sample = {**sample, "label": self._labels[index]}
        return sample

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``, of this selection."""
        import torch

        from mmcl.data.paired import batch_of

        batch = batch_of(self.source, torch.tensor(self.rows)[rows])
        if self._labels is not None:
            batch["label"] = torch.tensor(self._labels)[rows]
        return batch


def sample_ids(dataset: Any, rows: Sequence[int]) -> list[str]:
    """Return the ids of samples, which a data set has as ``ids``, those of its ``utterances``, or else in each sample;
    or else are the rows."""
    if hasattr(dataset, "ids"):
        known = dataset.ids
        return [known[row] for row in rows]
    if hasattr(dataset, "utterances"):  # of which nothing need be decoded
        return [dataset.utterances[row].id for row in rows]
    return [str(dataset[row].get("id", row)) for row in rows]

"""Subset of a data set by row, with optional new labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset
from mmcl.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from mmcl.batch import Batch, Sample
    from mmcl.data.base import Entity, Utterance


class Selection:
    """A subset of a data set, in the given order, optionally with new labels.

    Nothing is copied. Labels are read from the source when they are needed.

    Args:
        source: the data set.
        rows: rows of the source, each at most once.
        labels: new label of each row; None keeps the labels of the source.

    Attributes:
        source, rows: as passed.

    Raises:
        DataError: ``rows`` is empty, out of range or has duplicates, or ``labels`` has another length.

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
            raise DataError("the selection has 0 rows, expected at least 1")
        outside = [row for row in self.rows if not 0 <= row < len(source)]
        if outside or len(set(self.rows)) < len(self.rows):
            wrong = f"row {outside[0]}" if outside else "a duplicate row"
            raise DataError(f"the selection has {wrong}, expected distinct rows from 0 to {len(source) - 1}")
        labels = None if labels is None else whole_numbers(labels, "labels", error=DataError)
        if labels is not None and len(labels) != len(self.rows):
            raise DataError(f"the selection has {len(labels)} labels for {len(self.rows)} rows, expected equal numbers")
        self._labels = labels

    @property
    def classes(self) -> Sequence[str]:
        """Class names of the source."""
        return self.source.classes

    @property
    def labels(self) -> Sequence[int]:
        """Label of each sample."""
        return [self.source.labels[row] for row in self.rows] if self._labels is None else self._labels

    @property
    def texts(self) -> Sequence[str]:
        """Text of each sample."""
        return [self.source.texts[row] for row in self.rows]

    @property
    def ids(self) -> list[str]:
        """Id of each sample."""
        return sample_ids(self.source, self.rows)

    @property
    def utterances(self) -> Sequence[Utterance] | None:
        """Recordings of the samples, whose labels are those of the source; None if samples are not recordings."""
        utterances = attributes_of(self.source).utterances
        return None if utterances is None else [utterances[row] for row in self.rows]

    @property
    def entities(self) -> Sequence[tuple[Entity, ...]] | None:
        """Entities of each sample; None if the source has none."""
        entities = attributes_of(self.source).entities
        return None if entities is None else [entities[row] for row in self.rows]

    @property
    def is_target(self) -> Sequence[bool] | None:
        """Whether each sample has salient factors; None if the source does not say."""
        flags = attributes_of(self.source).is_target
        return None if flags is None else [flags[row] for row in self.rows]

    @property
    def factors(self) -> Mapping[str, Sequence[int]]:
        """Values of each factor of the source, by name."""
        factors = attributes_of(self.source).factors
        return {name: [values[row] for row in self.rows] for name, values in factors.items()}

    @property
    def targets(self) -> Sequence[float] | None:
        """Number to predict of each sample; None if the source has none."""
        targets = attributes_of(self.source).targets
        return None if targets is None else [targets[row] for row in self.rows]

    @property
    def modalities(self) -> Mapping[str, str]:
        """Modality of each view of the source."""
        return attributes_of(self.source).modalities

    @property
    def features(self) -> Mapping[str, int]:
        """Size of each view of the source that is a vector of numbers."""
        return attributes_of(self.source).features

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[self.rows[index]]
        if self._labels is not None:
            sample = {**sample, "label": self._labels[index]}
        return sample

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``, counted within this selection."""
        import torch

        from mmcl.data.paired import batch_of

        batch = batch_of(self.source, torch.tensor(self.rows)[rows])
        if self._labels is not None:
            batch["label"] = torch.tensor(self._labels)[rows]
        return batch


def sample_ids(dataset: Any, rows: Sequence[int]) -> list[str]:
    """Return the ids of samples.

    Ids come from the data set's ``ids``, else from its ``utterances``, else from each sample, else they are the rows.
    """
    if hasattr(dataset, "ids"):
        known = dataset.ids
        return [known[row] for row in rows]
    if (utterances := attributes_of(dataset).utterances) is not None:  # without decoding any recording
        return [utterances[row].id for row in rows]
    return [str(dataset[row].get("id", row)) for row in rows]

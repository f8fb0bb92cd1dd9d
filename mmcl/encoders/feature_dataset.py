"""Data set of features that are memory-mapped from disk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.batch import Batch, Sample, length_mask
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.attributes import attributes_of, values_by_sample
from mmcl.data.base import Dataset, Entity
from mmcl.encoders.feature_store import FeatureSpan

_STATISTICS_SAMPLES = 500  # enough for statistics, with a few hundred steps each


class FeatureDataset:
    """Data set whose samples have memory-mapped ``features`` instead of audio, built by :func:`cached_features`.

    ``batch(rows)`` has ``features`` ``(batch, dim)``, or padded ``(batch, time, dim)`` with ``features_lengths``,
    ``label`` ``(batch,)``, ``target`` ``(batch,)`` if the data set has targets, and the lists ``text`` and
    ``entities``. Attributes of the data set with one string or number per sample are kept, to serve as domains of a
    stream.

    Args:
        dataset: the data set that was encoded.
        ids: the id of each sample.
        matrix: features of all samples, ``(rows, dim)``.
        spans: the rows of each sample in ``matrix``.
        pooled: True if each sample is one vector, False if it is a sequence.
    """

    def __init__(
        self, dataset: Dataset, ids: Sequence[str], matrix: Tensor, spans: Sequence[FeatureSpan], pooled: bool
    ) -> None:
        self.classes = dataset.classes
        self.labels = list(dataset.labels)
        self.texts = list(dataset.texts)
        attributes = attributes_of(dataset)
        self.superclasses = tuple(attributes.superclasses)
        self.entities: list[tuple[Entity, ...]] = list(attributes.entities or [()] * len(self.labels))
        self.speakers = list(attributes.speakers or ())
        self.factors = attributes.factors
        self.targets = None if attributes.targets is None else list(attributes.targets)
        self.ids = list(ids)
        for name, values in values_by_sample(dataset).items():  # domains of a stream
            if not hasattr(self, name):
                setattr(self, name, values)
        self.dim = matrix.shape[1]
        self._label = torch.tensor(self.labels, dtype=torch.long)
        self._matrix = matrix
        self._first = torch.tensor([span.row for span in spans])
        self._length = torch.tensor([span.rows for span in spans])
        self._pooled = pooled
        self.lengths = None if pooled else self._length

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        batch = self.batch(torch.tensor([index]))
        sample = Sample(
            id=self.ids[index],
            features=batch["features"][0],
            label=self.labels[index],
            text=self.texts[index],
            entities=self.entities[index],
        )
        if self.targets is not None:
            sample["target"] = self.targets[index]
        return sample

    def vectors(self, rows: Sequence[int]) -> Tensor:
        """Return features of ``rows`` for statistics, ``(vectors, dim)``.

        Of sequences, these are the steps of the first 500 samples.
        """
        if self._pooled:
            return self.batch(torch.tensor(whole_numbers(rows, "rows")))["features"]
        batch = self.batch(torch.tensor(whole_numbers(rows[:_STATISTICS_SAMPLES], "rows")))
        return batch["features"][batch.mask("features")]

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        first, chosen = self._first.index_select(0, rows), rows.tolist()
        batch = Batch(
            label=self._label.index_select(0, rows),
            text=[self.texts[row] for row in chosen],
            entities=[self.entities[row] for row in chosen],
        )
        if self.targets is not None:
            batch["target"] = torch.tensor([self.targets[row] for row in chosen])
        if self._pooled:
            batch["features"] = self._matrix.index_select(0, first)
            return batch
        lengths = self._length.index_select(0, rows)
        steps = torch.arange(int(lengths.max()))
        source = (first[:, None] + steps).clamp(max=len(self._matrix) - 1)
        features = self._matrix.index_select(0, source.view(-1)).view(*source.shape, self.dim)
        features = features.float() if features.is_floating_point() else features.long()
        batch["features"] = features * length_mask(lengths, len(steps))[:, :, None]
        batch["features_lengths"] = lengths
        return batch

"""CachedViews: a data set of several views, of each of which what training never changes is computed once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmcl.batch import Batch, Sample
from mmcl.data.attributes import attributes_of
from mmcl.data.base import BatchedDataset, Dataset
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoder


class CachedViews:
    """Hold the views of a data set as their encoders need them in training, and make batches in a few operations.

    A view of recordings, images or texts becomes ``<view>_features`` with ``<view>_features_lengths``, of which
    :func:`~mmcl.encoders.cached_features` says what it is; one of numbers is held in memory under its own name.

    Args:
        dataset: whose views are called as their modality, or are vectors of numbers.
        encoders: by view.
        **options: of ``cached_features``, such as ``device``.

    Raises:
        ConfigError: an encoder of another modality than the view is of.
        DataError and others: as of ``cached_features``.
    """

    def __init__(self, dataset: Dataset, encoders: Mapping[str, Encoder], **options: Any) -> None:
        from mmcl.encoders import cached_features

        self.classes: Sequence[str] = dataset.classes
        self.labels: Sequence[int] = list(dataset.labels)
        self.texts: Sequence[str] = list(dataset.texts)
        self._label = torch.tensor(self.labels)
        self.features: dict[str, int] = dict(attributes_of(dataset).features)
        there = attributes_of(dataset).modalities
        for view, encoder in encoders.items():
            if there.get(view) != encoder.modality:
                listed = ", ".join(f"{name} ({modality})" for name, modality in there.items()) or "none"
                raise ConfigError(f"view {view} is to be of modality {encoder.modality}, but the views are {listed}")
        numbers = [view for view, encoder in encoders.items() if encoder.modality == "tabular"]
        self._vectors: dict[str, Tensor] = _vectors(dataset, numbers)
        self._features = {
            view: cached_features(dataset, encoder, keep="sequence", **options)
            for view, encoder in encoders.items()
            if view not in numbers
        }

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        batch = self.batch(torch.tensor([index]))
        sample: Any = {name: value[0] for name, value in batch.items() if not name.endswith("_lengths")}
        sample["label"] = self.labels[index]
        return sample

    def vectors(self, view: str) -> Tensor:
        """The vectors of a view of numbers, ``(samples, features)``."""
        return self._vectors[view]

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``."""
        batch = Batch(label=self._label[rows], text=[self.texts[row] for row in rows.tolist()])
        for view, vectors in self._vectors.items():
            batch[view] = vectors[rows]
        for view, features in self._features.items():
            part = features.batch(rows)
            batch[f"{view}_features"] = part["features"]
            batch[f"{view}_features_lengths"] = part["features_lengths"]
        return batch


def _vectors(dataset: Dataset, views: list[str]) -> dict[str, Tensor]:
    if not views:
        return {}
    if isinstance(dataset, BatchedDataset):
        batch = dataset.batch(torch.arange(len(dataset)))
        return {view: batch[view] for view in views}
    samples: list[Any] = [dataset[row] for row in range(len(dataset))]
    return {view: torch.stack([sample[view] for sample in samples]) for view in views}

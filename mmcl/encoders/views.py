"""Data sets of several views with cached features for each view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmcl.batch import Batch, Sample
from mmcl.data.attributes import attributes_of, values_by_sample
from mmcl.data.base import BatchedDataset, Dataset
from mmcl.data.modalities import image_shape
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoder


class CachedViews:
    """Data set whose views are stored as the input of their encoders' trained layers, with fast batching.

    A view of audio, images or texts becomes ``<view>_features`` with ``<view>_features_lengths``, the output of
    :func:`~mmcl.encoders.cached_features`. Pooled features have no lengths. A tabular view is held in memory under its
    own name. Attributes of the data set with one string or number per sample are kept, to serve as domains of a stream.

    Args:
        dataset: a data set with views. A view has the name of its modality, or is tabular.
        encoders: the encoder of each view.
        keep: form of the features, as in ``cached_features``.
        **options: further options of ``cached_features``, such as ``device``.

    Raises:
        ConfigError: if an encoder and its view have different modalities.
        DataError: as in ``cached_features``.
    """

    def __init__(
        self, dataset: Dataset, encoders: Mapping[str, Encoder], *, keep: str = "sequence", **options: Any
    ) -> None:
        from mmcl.encoders import cached_features

        self.classes: Sequence[str] = dataset.classes
        self.labels: Sequence[int] = list(dataset.labels)
        self.texts: Sequence[str] = list(dataset.texts)
        self.superclasses = tuple(attributes_of(dataset).superclasses)
        for name, values in values_by_sample(dataset).items():  # domains of a stream
            if not hasattr(self, name):
                setattr(self, name, values)
        self._label = torch.tensor(self.labels)
        self.features: dict[str, int] = dict(attributes_of(dataset).features)
        self.image_shape = image_shape(dataset)
        modalities = attributes_of(dataset).modalities
        for view, encoder in encoders.items():
            if modalities.get(view) != encoder.modality:
                known = ", ".join(f"{name} ({modality})" for name, modality in modalities.items()) or "none"
                raise ConfigError(f"the encoder of view {view} is for {encoder.modality}, but the views are {known}")
        tabular = [view for view, encoder in encoders.items() if encoder.modality == "tabular"]
        self._vectors: dict[str, Tensor] = _vectors(dataset, tabular)
        self._features = {
            view: cached_features(dataset, encoder, keep=keep, **options)
            for view, encoder in encoders.items()
            if view not in tabular
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
        """Return the vectors of a tabular view, ``(samples, features)``."""
        return self._vectors[view]

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        batch = Batch(label=self._label[rows], text=[self.texts[row] for row in rows.tolist()])
        for view, vectors in self._vectors.items():
            batch[view] = vectors[rows]
        for view, features in self._features.items():
            encoded = features.batch(rows)
            batch[f"{view}_features"] = encoded["features"]
            if "features_lengths" in encoded:
                batch[f"{view}_features_lengths"] = encoded["features_lengths"]
        return batch


def _vectors(dataset: Dataset, views: list[str]) -> dict[str, Tensor]:
    if not views:
        return {}
    if isinstance(dataset, BatchedDataset):
        batch = dataset.batch(torch.arange(len(dataset)))
        return {view: batch[view] for view in views}
    samples: list[Any] = [dataset[row] for row in range(len(dataset))]
    return {view: torch.stack([sample[view] for sample in samples]) for view in views}

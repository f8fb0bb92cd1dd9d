"""TabularView: the feature vectors of a data set as one input, such as all columns of numbers of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mmcl.batch import Sample
from mmcl.data.attributes import attributes_of
from mmcl.data.base import Dataset
from mmcl.errors import DataError


class TabularView:
    """Concatenate the tabular views of each sample into one entry ``tabular``.

    Args:
        source: a data set with views of numbers, such as a table or ROSMAP.

    Attributes:
        features: size of the vector, by the name of the entry.

    Raises:
        DataError: the data set has no views of numbers.

    >>> class Table:
    ...     classes, labels, texts, modalities = ("low", "high"), [1], [""], {"numbers": "tabular"}
    ...     features = {"numbers": 2}
    ...     def __len__(self): return 1
    ...     def __getitem__(self, row): return {"numbers": torch.tensor([3.0, 4.0]), "label": 1}
    >>> TabularView(Table())[0]["tabular"].tolist()
    [3.0, 4.0]
    """

    def __init__(self, source: Dataset) -> None:
        found = attributes_of(source)
        self._views = [view for view, modality in found.modalities.items() if modality == "tabular"]
        if not self._views:
            known = ", ".join(found.modalities) or "none"
            raise DataError(
                f"the data set has no columns of numbers, only views {known}: set encoder.modality to theirs"
            )
        self.source, self.modalities = source, {"tabular": "tabular"}
        self.features = {"tabular": sum(found.features[view] for view in self._views)}
        self.classes: Sequence[str] = source.classes
        self.labels: Sequence[int] = source.labels
        self.texts: Sequence[str] = source.texts
        self.targets = found.targets

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample: dict[str, Any] = dict(self.source[index])
        vectors = torch.cat([sample.pop(view).float() for view in self._views])
        return {**sample, "tabular": vectors}  # type: ignore[typeddict-item]

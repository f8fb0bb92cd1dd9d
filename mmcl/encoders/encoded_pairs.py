"""EncodedPairs: text pairs with cached features of their texts, to train one text tower on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmcl.batch import Batch, Sample
from mmcl.data.texts.plain_texts import PlainTexts
from mmcl.data.texts.text_pairs import VIEWS, TextPairs
from mmcl.encoders.base import Encoder
from mmcl.encoders.cache import cached_features


class EncodedPairs:
    """Text pairs whose batches hold features of each text, as :func:`~mmcl.data.texts.text_pairs.view_of` reads them.

    A batch has ``features`` of the first texts, ``passage_features`` and, in triples, ``negative_features``. Sequences
    come with lengths, such as ``features_lengths``.

    Args:
        pairs: the pairs.
        encoder: text encoder, whose frozen features are cached.
        **options: options of :func:`~mmcl.encoders.cached_features`, such as ``keep``.

    Attributes:
        pairs: as passed.
        targets: score of each pair; None without scores.
        negative_views: 1 in triples, else 0.
        lengths: number of tokens of the longest text of each pair; None for pooled features.
    """

    def __init__(self, pairs: TextPairs, encoder: Encoder, **options: Any) -> None:
        self.pairs = pairs
        self.classes, self.labels, self.texts = pairs.classes, pairs.labels, pairs.texts
        self.targets, self.arrays = pairs.targets, pairs.arrays
        self.negative_views = pairs.views - 2
        self._columns = [cached_features(PlainTexts(column), encoder, **options) for column in pairs.columns()]
        known = [column.lengths for column in self._columns if column.lengths is not None]
        self.lengths = torch.stack(known).amax(0) if known else None

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        return self.pairs[index]

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of pairs ``rows``, ``(batch,)``."""
        batch = Batch()
        for view, column in zip(VIEWS, self._columns, strict=False):
            found = column.batch(rows)
            batch |= {f"{view}{name}": found[name] for name in ("features", "features_lengths") if name in found}
        return Batch(batch)

    def vectors(self, rows: Sequence[int]) -> Tensor:
        """Return features of the texts of ``rows`` for statistics, ``(vectors, dim)``."""
        return torch.cat([column.vectors(rows) for column in self._columns])

"""Few-shot episodes to train on: batches of some classes, with support samples and queries of each."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.config.numbers import AtLeastTwo, Count
from mmcl.data.paired import PairedDataset
from mmcl.data.torch_dataset import Samples
from mmcl.errors import ConfigError, DataError


class EpisodicDataset(PairedDataset):
    """Samples whose batches are few-shot episodes.

    An episode draws ``ways`` classes, and ``shots`` support samples and ``queries`` other samples of each, as in
    prototypical networks (Snell et al. 2017, arXiv 1703.05175). Classes with too few samples are not drawn. A sample
    can be support in one episode and a query in the next. In a batch, row ``i`` is sample ``i`` as a query, and row
    ``i + len(self)`` is the same sample as support.

    Args:
        first: samples with labels.
        ways: classes of an episode.
        shots: support samples of each class.
        queries: samples to classify of each class.
        per_epoch: episodes of an epoch.

    Attributes:
        is_support: whether a row is of the support, boolean ``(2 * samples,)``.

    Raises:
        ConfigError: a number is too small.
        DataError: there are fewer than ``ways`` classes with ``shots + queries`` samples.

    >>> class Said:
    ...     classes, labels, texts = ("on", "off"), [0, 0, 1, 1], ["on", "on", "off", "off"]
    ...     def __len__(self): return 4
    ...     def __getitem__(self, row): return {"id": str(row), "label": self.labels[row]}
    >>> episodes = EpisodicDataset(Said(), ways=2, shots=1, queries=1, per_epoch=3)
    >>> rows = episodes.batches()[0]
    >>> episodes.labels[rows].bincount(), episodes.is_support[rows]
    (tensor([2, 2]), tensor([ True,  True, False, False]))
    """

    def __init__(
        self, first: Samples, *, ways: AtLeastTwo = 5, shots: Count = 5, queries: Count = 10, per_epoch: Count = 50
    ) -> None:
        if ways < 2 or min(shots, queries, per_epoch) < 1:
            raise ConfigError(
                f"ways is {ways}, shots {shots}, queries {queries}, per_epoch {per_epoch}: expected 2 or more ways, "
                "and 1 or more of the others"
            )
        super().__init__(first)
        self.ways, self.shots, self.queries, self.per_epoch = ways, shots, queries, per_epoch
        found = [(self.labels == label).nonzero()[:, 0] for label in self.labels.unique()]
        self._members = [rows for rows in found if len(rows) >= shots + queries]
        if len(self._members) < ways:
            raise DataError(
                f"{len(self._members)} classes have {shots + queries} samples or more, which {shots} shots and "
                f"{queries} queries need, expected {ways} ways: lower ways, shots or queries"
            )
        self.is_support = torch.arange(2 * len(self)) >= len(self)
        self.labels, self.lengths = self.labels.repeat(2), None if self.lengths is None else self.lengths.repeat(2)
        self.bags = None if self.bags is None else self.bags.repeat(2)
        self.targets = None if self.targets is None else self.targets.repeat(2)

    def samples_of(self, rows: Tensor) -> Tensor:
        """Return the sample of each row."""
        return rows % len(self)

    def batches(self, batch_size: int = 0, *, distinct: bool = False) -> list[Tensor]:
        """Return the rows of new episodes, support first; both arguments are ignored."""
        return [self._episode() for _ in range(self.per_epoch)]

    def _episode(self) -> Tensor:
        chosen = [self._members[each] for each in torch.randperm(len(self._members))[: self.ways].tolist()]
        drawn = torch.stack([own[torch.randperm(len(own))[: self.shots + self.queries]] for own in chosen])
        support, queries = drawn.split([self.shots, self.queries], 1)
        return torch.cat([support.flatten() + len(self), queries.flatten()])

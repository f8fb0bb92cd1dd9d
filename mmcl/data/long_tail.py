"""Long-tailed selections, in which the number of samples falls from class to class."""

from __future__ import annotations

import torch

from mmcl.config.numbers import Factor
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError


def long_tailed(dataset: Dataset, share: Factor, *, seed: int = 0) -> Selection:
    """Select samples so that classes, in random order, have fewer and fewer of them.

    Class k of K keeps ``n share^(k / (K - 1))`` samples, where n is the size of the smallest class (Cui et al. 2019,
    arXiv 1901.05555, section 5). Each class keeps at least one.

    Args:
        dataset: the data set.
        share: size of the rarest class as a share of the most frequent one; 1 balances the classes.
        seed: seed of the order of the classes and of the choice of samples.

    Raises:
        ConfigError: ``share`` is not above 0 and up to 1.

    >>> class Said:
    ...     classes, labels, texts = ("on", "off"), [0, 1] * 8, ["on", "off"] * 8
    ...     def __len__(self): return 16
    ...     def __getitem__(self, row): return {"label": self.labels[row]}
    >>> from collections import Counter
    >>> sorted(Counter(long_tailed(Said(), 0.25).labels).values())
    [2, 8]
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share is {share}, expected more than 0 and at most 1")
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(list(dataset.labels))
    present = labels.unique()
    present = present[torch.randperm(len(present), generator=generator)]
    largest = int(min((labels == label).sum() for label in present))
    rows: list[int] = []
    for place, label in enumerate(present):
        kept = max(1, round(largest * share ** (place / max(len(present) - 1, 1))))
        own = (labels == label).nonzero()[:, 0]
        rows += own[torch.randperm(len(own), generator=generator)[:kept]].tolist()
    return Selection(dataset, sorted(rows))

"""TableAugmentation: features replaced by those of other samples, and noise."""

from __future__ import annotations

import torch

from mmcl.batch import Batch
from mmcl.config.numbers import NonNegative, Share
from mmcl.errors import ConfigError, InputError


class TableAugmentation:
    """Return a random view of the feature vectors of a batch.

    A share of the features of each sample is replaced by those of random other samples of the batch (SCARF, Bahri et
    al. 2022, arXiv 2106.15147). Differs from the paper: values come from the batch, not from all training samples.

    Args:
        replaced: share of the features that are replaced.
        noise: standard deviation of the Gaussian noise, in units of a feature.

    Raises:
        ConfigError: a setting is out of range.
        InputError: (when called) the batch has no feature vectors.

    >>> _ = torch.manual_seed(0)
    >>> TableAugmentation(replaced=1.0)(Batch(features=torch.tensor([[1.0, 5.0], [2.0, 6.0]])))["features"].tolist()
    [[1.0, 6.0], [2.0, 5.0]]
    """

    def __init__(self, replaced: Share = 0.6, noise: NonNegative = 0.0) -> None:
        if not 0 <= replaced <= 1 or noise < 0:
            raise ConfigError(f"replaced is {replaced} and noise {noise}, expected a share of 0 to 1 and noise >= 0")
        self.replaced, self.noise = replaced, noise

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other features; its other entries stay."""
        name = "features" if "features" in batch else "tabular"
        if name not in batch:
            raise InputError(f"the batch has {', '.join(batch) or 'no entries'}, expected feature vectors to augment")
        values = batch[name]
        others = torch.randint(len(values), values.shape, device=values.device)
        replaced = torch.rand(values.shape, device=values.device) < self.replaced
        values = torch.where(replaced, values.gather(0, others), values)
        return Batch({**batch, name: values + self.noise * torch.randn_like(values) if self.noise else values})

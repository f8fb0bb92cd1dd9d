"""Regressor: a linear head that predicts a number from the features of an encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Regressor(nn.Module):
    """Predict a number in the unit of the targets::

        prediction = mean + deviation (w . features + b)

    Mean and standard deviation of the training targets are buffers, so that the learning rate fits targets of any unit.

    Args:
        dim: dimension of the features.

    >>> regressor = Regressor(8)
    >>> regressor.standardize(torch.tensor([10.0, 30.0]))
    >>> regressor.mean, regressor.deviation, regressor(torch.zeros(4, 8)).shape
    (tensor(20.), tensor(10.), torch.Size([4]))
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))

    def standardize(self, targets: Tensor) -> None:
        """Take mean and standard deviation from training targets, ``(samples,)``."""
        self.mean.copy_(targets.mean())
        self.deviation.copy_(targets.std(correction=0))

    def forward(self, features: Tensor) -> Tensor:
        """Return predictions ``(batch,)`` of features ``(batch, dim)``, in float32 also under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            return self.mean + self.deviation * self.linear(features.float())[:, 0]

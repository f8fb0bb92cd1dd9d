"""A temperature that is learned, as CLIP learns it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmcl.errors import InputError


class LearnableTemperature(nn.Module):
    """A temperature kept as ``log(1 / temperature)``, so that steps are relative and it stays positive.

    ``temperature = exp(-log_scale)`` with log_scale held within [0, log(1 / minimum)]. Radford et al. 2021 (CLIP),
    sections 2.3 and 2.5: 0.07 to begin with, 1 / temperature at most 100. The bound is put on the parameter, not on the
    result: clamping the result would leave a parameter that went past the bound without a gradient that brings it back.

    Hand it to an objective in place of a number, and its parameter to the optimizer, without weight decay.

    Args:
        initial: the first temperature, from ``minimum`` to 1.
        minimum: the lowest temperature.

    Raises:
        InputError: not ``0 < minimum <= initial <= 1``.

    >>> from mmcl.objectives import CLIPLoss
    >>> temperature = LearnableTemperature(0.1)
    >>> loss = CLIPLoss(temperature)(torch.eye(2), torch.eye(2))
    >>> loss.backward()
    >>> round(temperature().item(), 4), temperature.log_scale.grad is not None
    (0.1, True)
    """

    def __init__(self, initial: float = 0.07, minimum: float = 0.01) -> None:
        super().__init__()
        if not 0 < minimum <= initial <= 1:
            raise InputError(f"minimum is {minimum}, initial {initial}: expected 0 < minimum <= initial <= 1")
        self.highest = math.log(1 / minimum)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / initial)))

    def forward(self) -> Tensor:
        """Return the temperature, of no dimensions."""
        with torch.no_grad():
            self.log_scale.clamp_(0, self.highest)
        return torch.exp(-self.log_scale)

"""Momentum encoder: a moving average of an encoder, whose embeddings are the keys of contrastive objectives."""

from __future__ import annotations

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from mmcl.config.numbers import Probability
from mmcl.errors import ConfigError, ShapeError

EncoderT = TypeVar("EncoderT", bound=nn.Module)


class MomentumEncoder(nn.Module, Generic[EncoderT]):
    """A moving average of an encoder's parameters, without gradient.

    ::

        average = momentum average + (1 - momentum) parameter          in each call of update()

    Buffers, such as the statistics of batch normalization, are those of the average itself. Call :meth:`update` after
    each step of the optimizer. The state is resumed with ``state_dict``. He et al. 2020 (arXiv 1911.05722, MoCo),
    equation 2.

    Args:
        encoder: module to average; it is copied.
        momentum: weight of the average, in [0, 1); 0.999 in MoCo.

    Raises:
        ConfigError: the momentum is outside [0, 1).

    >>> encoder = nn.Linear(2, 1, bias=False)
    >>> average = MomentumEncoder(encoder, momentum=0.75)
    >>> _ = average.average.weight.fill_(0.0), encoder.weight.data.fill_(4.0)
    >>> average.update(encoder)
    >>> average(torch.ones(1, 2)), average(torch.ones(1, 2)).requires_grad
    (tensor([[2.]]), False)
    """

    def __init__(self, encoder: EncoderT, momentum: Probability = 0.999) -> None:
        super().__init__()
        if isinstance(momentum, bool) or not 0 <= momentum < 1:
            raise ConfigError(f"momentum is {momentum!r}, expected 0 or more, and below 1")
        self.momentum = momentum
        self.average: EncoderT = deepcopy(encoder).requires_grad_(False)

    @torch.no_grad()
    def forward(self, *args: object, **kwargs: object) -> Tensor:
        """Return the embeddings by the averaged encoder, without gradient."""
        embeddings: Tensor = self.average(*args, **kwargs)
        return embeddings

    @torch.no_grad()
    def update(self, encoder: nn.Module) -> None:
        """Move the average towards the parameters of an encoder.

        Args:
            encoder: the encoder that was copied, or another with the same parameters.

        Raises:
            ShapeError: the encoder has other parameters.
        """
        own, other = dict(self.average.named_parameters()), dict(encoder.named_parameters())
        for name in sorted(own.keys() | other.keys()):
            if name not in own or name not in other or own[name].shape != other[name].shape:
                raise ShapeError(f"parameter {name} is not that of the averaged encoder: update with the same encoder")
        for name, average in own.items():
            average.lerp_(other[name].to(average), 1 - self.momentum)

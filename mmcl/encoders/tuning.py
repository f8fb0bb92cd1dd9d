"""Selection of the layers of a pretrained network that are trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mmcl.errors import ConfigError
from mmcl.freeze import freeze


def freeze_below(name: str, tune_from: int, front: Sequence[nn.Module], layers: nn.ModuleList) -> None:
    """Freeze the ``front`` and the layers before ``tune_from``; the other layers stay trainable.

    Raises:
        ConfigError: if there is no layer ``tune_from``.
    """
    if not 0 <= tune_from < len(layers):
        raise ConfigError(
            f"tune_from is {tune_from}, but '{name}' has {len(layers)} layers: expected 0 to {len(layers) - 1}, "
            "or frozen=True to train none"
        )
    for module in (*front, *layers[:tune_from]):
        freeze(module)


def split_prefix(
    layers: Callable[[Tensor, Tensor], Tensor], prefix: Tensor, hidden: Tensor, lengths: Tensor
) -> tuple[Tensor, Tensor]:
    """Apply layers to hidden states with vectors in front, and return the outputs of both apart.

    Args:
        layers: maps hidden states ``(batch, steps, dim)`` and lengths ``(batch,)`` to hidden states.
        prefix: vectors, ``(batch, vectors, dim)``.
        hidden: hidden states, ``(batch, steps, dim)``.
        lengths: their lengths, ``(batch,)``.
    """
    vectors = prefix.shape[1]
    outputs = layers(torch.cat([prefix.to(hidden.dtype), hidden], 1), lengths + vectors)
    return outputs[:, :vectors], outputs[:, vectors:]


def is_frozen(frozen: bool | None, pretrained: bool, tune_from: int | None) -> bool:
    """Resolve ``frozen=None``: a pretrained network is frozen unless ``tune_from`` is given.

    >>> is_frozen(None, True, None), is_frozen(None, False, None), is_frozen(False, True, None)
    (True, False, False)
    """
    return pretrained and tune_from is None if frozen is None else frozen

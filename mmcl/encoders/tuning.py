"""freeze_below: which layers of a pretrained network are trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmcl.errors import ConfigError
from mmcl.freeze import freeze


def freeze_below(name: str, tune_from: int, front: Sequence[nn.Module], layers: nn.ModuleList) -> None:
    """Freeze the ``front`` and the layers before ``tune_from``; the others stay trainable."""
    if not 0 <= tune_from < len(layers):
        raise ConfigError(
            f"tune_from is {tune_from}, but '{name}' has {len(layers)} layers: expected 0 to {len(layers) - 1}, "
            "or frozen=True to train none"
        )
    for module in (*front, *layers[:tune_from]):
        freeze(module)

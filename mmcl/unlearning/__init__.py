"""Unlearning: make a model forget samples that it was trained on, and measure whether it did."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmcl.unlearning.laf import repair as repair
    from mmcl.unlearning.laf import unlearn_laf as unlearn_laf
    from mmcl.unlearning.parts import Parts as Parts
    from mmcl.unlearning.retraining import train_classifier as train_classifier
    from mmcl.unlearning.unlearn import METHODS as METHODS
    from mmcl.unlearning.unlearn import unlearn as unlearn

_LAZY = {
    "METHODS": "mmcl.unlearning.unlearn",
    "Parts": "mmcl.unlearning.parts",
    "repair": "mmcl.unlearning.laf",
    "train_classifier": "mmcl.unlearning.retraining",
    "unlearn": "mmcl.unlearning.unlearn",
    "unlearn_laf": "mmcl.unlearning.laf",
}
__all__ = list(_LAZY)


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mmcl.unlearning' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

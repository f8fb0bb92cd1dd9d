"""Unlearning: make a model forget samples that it was trained on, and measure whether it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_names

if TYPE_CHECKING:
    from mmcl.unlearning.laf import repair as repair
    from mmcl.unlearning.laf import unlearn_laf as unlearn_laf
    from mmcl.unlearning.methods import METHODS as METHODS
    from mmcl.unlearning.methods import unlearn as unlearn
    from mmcl.unlearning.parts import Parts as Parts
    from mmcl.unlearning.retraining import train_classifier as train_classifier

_LAZY = {
    "METHODS": "mmcl.unlearning.methods",
    "Parts": "mmcl.unlearning.parts",
    "repair": "mmcl.unlearning.laf",
    "train_classifier": "mmcl.unlearning.retraining",
    "unlearn": "mmcl.unlearning.methods",
    "unlearn_laf": "mmcl.unlearning.laf",
}
__all__ = list(_LAZY)
__getattr__, __dir__ = lazy_names(__name__, _LAZY)

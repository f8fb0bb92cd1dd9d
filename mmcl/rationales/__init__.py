"""Rationale distillation: a small model learns answers and the reasons that larger models gave for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_names

if TYPE_CHECKING:
    from mmcl.rationales.discriminator import Discriminator as Discriminator
    from mmcl.rationales.discriminator import pretrain_discriminator as pretrain_discriminator
    from mmcl.rationales.distill import Distillation as Distillation
    from mmcl.rationales.distill import Recipe as Recipe
    from mmcl.rationales.distill import distill_rationales as distill_rationales
    from mmcl.rationales.voting import vote as vote
    from mmcl.rationales.voting import vote_all as vote_all

_LAZY = {
    "Discriminator": "mmcl.rationales.discriminator",
    "Distillation": "mmcl.rationales.distill",
    "Recipe": "mmcl.rationales.distill",
    "distill_rationales": "mmcl.rationales.distill",
    "pretrain_discriminator": "mmcl.rationales.discriminator",
    "vote": "mmcl.rationales.voting",
    "vote_all": "mmcl.rationales.voting",
}
__all__ = list(_LAZY)
__getattr__, __dir__ = lazy_names(__name__, _LAZY)

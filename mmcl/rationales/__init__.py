"""Rationale distillation: train a small model on answers and on rationales written by large language models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.rationales.discriminator import Discriminator as Discriminator
    from mmcl.rationales.discriminator import pretrain_discriminator as pretrain_discriminator
    from mmcl.rationales.distill import Distillation as Distillation
    from mmcl.rationales.distill import distill_rationales as distill_rationales
    from mmcl.rationales.recipe import Recipe as Recipe
    from mmcl.rationales.voting import vote as vote
    from mmcl.rationales.voting import vote_all as vote_all

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

"""Losses on tensors, each defined by the paper's equation on a shared kernel. Independent of trainers and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    # Two paired sides, and the kernel
    from mmcl.objectives.clip import CLIPLoss as CLIPLoss
    from mmcl.objectives.cwcl import CWCLLoss as CWCLLoss
    from mmcl.objectives.dcl import DCLLoss as DCLLoss

    # Distillation
    from mmcl.objectives.distill import feature_distillation as feature_distillation
    from mmcl.objectives.distill import logit_distillation as logit_distillation
    from mmcl.objectives.distill import relational_distillation as relational_distillation
    from mmcl.objectives.hard_contrastive import HardContrastiveLoss as HardContrastiveLoss
    from mmcl.objectives.kernel.base import Dense as Dense
    from mmcl.objectives.kernel.base import Pairs as Pairs
    from mmcl.objectives.kernel.info_nce import log_denominators as log_denominators
    from mmcl.objectives.kernel.info_nce import two_way_info_nce as two_way_info_nce
    from mmcl.objectives.kernel.info_nce import weighted_info_nce as weighted_info_nce
    from mmcl.objectives.kernel.pairs import Identity as Identity
    from mmcl.objectives.kernel.pairs import Mixed as Mixed
    from mmcl.objectives.kernel.pairs import SameLabel as SameLabel
    from mmcl.objectives.kernel.pairs import Similarity as Similarity
    from mmcl.objectives.kernel.sparse import Sparse as Sparse
    from mmcl.objectives.m3co import M3CoLoss as M3CoLoss

    # Labels
    from mmcl.objectives.mm import MMLoss as MMLoss

    # Two or more views of one modality
    from mmcl.objectives.mv_dhel import MVDHELLoss as MVDHELLoss
    from mmcl.objectives.nspt import NSPTLoss as NSPTLoss
    from mmcl.objectives.nt_xent import NTXentLoss as NTXentLoss

    # Shared by all objectives
    from mmcl.objectives.objective import Objective as Objective
    from mmcl.objectives.siglip import SigLIPLoss as SigLIPLoss
    from mmcl.objectives.soft_clip import SoftClipLoss as SoftClipLoss
    from mmcl.objectives.sup_con import SupConLoss as SupConLoss
    from mmcl.objectives.temperature import LearnableTemperature as LearnableTemperature

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

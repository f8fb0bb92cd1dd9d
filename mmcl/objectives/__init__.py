"""Losses on tensors, each defined by its paper's equation on a shared kernel. Independent of trainers and files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    # Two paired sides: modalities or views
    from mmcl.objectives.clip import CLIPLoss as CLIPLoss
    from mmcl.objectives.codiemb import CoDiEmbRetrievalLoss as CoDiEmbRetrievalLoss
    from mmcl.objectives.cwcl import CWCLLoss as CWCLLoss
    from mmcl.objectives.dcl import DCLLoss as DCLLoss
    from mmcl.objectives.hard_contrastive import HardContrastiveLoss as HardContrastiveLoss
    from mmcl.objectives.isogclr import ISogCLRLoss as ISogCLRLoss
    from mmcl.objectives.m3co import M3CoLoss as M3CoLoss
    from mmcl.objectives.mochi import MoCHiLoss as MoCHiLoss
    from mmcl.objectives.mw import MWLoss as MWLoss
    from mmcl.objectives.nt_xent import NTXentLoss as NTXentLoss
    from mmcl.objectives.siglip import SigLIPLoss as SigLIPLoss
    from mmcl.objectives.simple_contrastive import SimpleContrastiveLoss as SimpleContrastiveLoss
    from mmcl.objectives.soft_clip import SoftClipLoss as SoftClipLoss

    # Two or more views
    from mmcl.objectives.cacr import CACRLoss as CACRLoss
    from mmcl.objectives.groco import GroCoLoss as GroCoLoss
    from mmcl.objectives.mv_dhel import MVDHELLoss as MVDHELLoss
    from mmcl.objectives.mv_info_nce import MVInfoNCELoss as MVInfoNCELoss
    from mmcl.objectives.sep_clr import SepCLRLoss as SepCLRLoss

    # Labels
    from mmcl.objectives.core_tuning import CoreTuningLoss as CoreTuningLoss
    from mmcl.objectives.mm import MMLoss as MMLoss
    from mmcl.objectives.simlap import ClassPairGate as ClassPairGate
    from mmcl.objectives.simlap import SimLAPLoss as SimLAPLoss
    from mmcl.objectives.sup_con import SupConLoss as SupConLoss

    # Episodes of few shots, or representations for them
    from mmcl.objectives.beclr import BECLRLoss as BECLRLoss
    from mmcl.objectives.susana import SuSanaLoss as SuSanaLoss

    # Numbers of a regression, or graded similarities
    from mmcl.objectives.codiemb_similarity import CoDiEmbSimilarityLoss as CoDiEmbSimilarityLoss
    from mmcl.objectives.conr import ConRLoss as ConRLoss
    from mmcl.objectives.l1 import L1Loss as L1Loss
    from mmcl.objectives.supremix import SupReMixLoss as SupReMixLoss

    # Candidates of queries
    from mmcl.objectives.reranking import RerankingLoss as RerankingLoss

    # A teacher or a reference model
    from mmcl.objectives.distill import feature_distillation as feature_distillation
    from mmcl.objectives.distill import logit_distillation as logit_distillation
    from mmcl.objectives.distill import relational_distillation as relational_distillation
    from mmcl.objectives.dpo import length_normalized_dpo as length_normalized_dpo
    from mmcl.objectives.dpo import mean_log_probabilities as mean_log_probabilities
    from mmcl.objectives.nspt import NSPTLoss as NSPTLoss

    # State between batches
    from mmcl.objectives.memory import ClusteredQueue as ClusteredQueue
    from mmcl.objectives.memory import Queue as Queue
    from mmcl.objectives.memory import SampleNumbers as SampleNumbers

    # The base class, sums and temperatures
    from mmcl.objectives.objective import Objective as Objective
    from mmcl.objectives.objective_sum import ObjectiveSum as ObjectiveSum
    from mmcl.objectives.temperature import LearnableTemperature as LearnableTemperature

    # The kernel and its weight matrices
    from mmcl.objectives.kernel.base import Dense as Dense
    from mmcl.objectives.kernel.base import Pairs as Pairs
    from mmcl.objectives.kernel.info_nce import log_denominators as log_denominators
    from mmcl.objectives.kernel.two_way import two_way_info_nce as two_way_info_nce
    from mmcl.objectives.kernel.info_nce import weighted_info_nce as weighted_info_nce
    from mmcl.objectives.kernel.pairs import Identity as Identity
    from mmcl.objectives.kernel.pairs import Mixed as Mixed
    from mmcl.objectives.kernel.pairs import SameLabel as SameLabel
    from mmcl.objectives.kernel.pairs import Similarity as Similarity
    from mmcl.objectives.kernel.sparse import Sparse as Sparse

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

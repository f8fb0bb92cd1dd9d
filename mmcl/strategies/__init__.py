"""Class-incremental training: the loop, strategies, and their parts as Avalanche plugins.

A strategy such as :func:`coconut` is the loop :class:`MMCLTemplate` with the plugins of a method. Importing this
package takes seconds, because it loads Avalanche.
"""

from mmcl.lazy import quick_imports

with quick_imports():
    from mmcl.rationales import distill_rationales as distill_rationales
    from mmcl.strategies.accuracy_matrix import AccuracyMatrix as AccuracyMatrix
    from mmcl.strategies.anytime_accuracy import AnytimeAccuracy as AnytimeAccuracy
    from mmcl.strategies.asymmetric_cross_entropy import AsymmetricCrossEntropy as AsymmetricCrossEntropy
    from mmcl.strategies.balanced_distillation import BalancedDistillation as BalancedDistillation
    from mmcl.strategies.closed_form import ClosedForm as ClosedForm
    from mmcl.strategies.coconut import Coconut as Coconut
    from mmcl.strategies.contrast import Contrast as Contrast
    from mmcl.strategies.core_tuning import CoreTuning as CoreTuning
    from mmcl.strategies.dark_experience import DarkExperience as DarkExperience
    from mmcl.strategies.distillation import AudioDistillation as AudioDistillation
    from mmcl.strategies.distillation import LogitDistillation as LogitDistillation
    from mmcl.strategies.distillation import TokenDistillation as TokenDistillation
    from mmcl.strategies.early_rehearsal import EarlyRehearsal as EarlyRehearsal
    from mmcl.strategies.elastic_weights import ElasticWeights as ElasticWeights
    from mmcl.strategies.first_session import FirstSession as FirstSession
    from mmcl.strategies.frame_scores import FrameScores as FrameScores
    from mmcl.strategies.gdumb import GDumb as GDumb
    from mmcl.strategies.gradient_projection import EpisodicMemory as EpisodicMemory
    from mmcl.strategies.gradient_projection import GradientProjection as GradientProjection
    from mmcl.strategies.head_correction import BiasCorrection as BiasCorrection
    from mmcl.strategies.head_correction import WeightAlignment as WeightAlignment
    from mmcl.strategies.held_out import HeldOut as HeldOut
    from mmcl.strategies.learning_to_prompt import LearningToPrompt as LearningToPrompt
    from mmcl.strategies.lucir import LUCIR as LUCIR
    from mmcl.strategies.m3col import M3CoL as M3CoL
    from mmcl.strategies.memory_aware_synapses import MemoryAwareSynapses as MemoryAwareSynapses
    from mmcl.strategies.nearest_mean import NearestMean as NearestMean
    from mmcl.strategies.presets import coconut as coconut
    from mmcl.strategies.presets import fecam as fecam
    from mmcl.strategies.presets import first_session as first_session
    from mmcl.strategies.presets import icarl as icarl
    from mmcl.strategies.presets import joint as joint
    from mmcl.strategies.presets import l2p as l2p
    from mmcl.strategies.presets import lwf as lwf
    from mmcl.strategies.presets import naive as naive
    from mmcl.strategies.presets import ncm as ncm
    from mmcl.strategies.presets import ranpac as ranpac
    from mmcl.strategies.presets import replay as replay
    from mmcl.strategies.presets import slda as slda
    from mmcl.strategies.rationale_distillation import RationaleDistillation as RationaleDistillation
    from mmcl.strategies.regularization import ewc as ewc
    from mmcl.strategies.regularization import mas as mas
    from mmcl.strategies.regularization import si as si
    from mmcl.strategies.rehearsal import Rehearsal as Rehearsal
    from mmcl.strategies.rehearsal_presets import agem as agem
    from mmcl.strategies.rehearsal_presets import bic as bic
    from mmcl.strategies.rehearsal_presets import der as der
    from mmcl.strategies.rehearsal_presets import der_pp as der_pp
    from mmcl.strategies.rehearsal_presets import er_ace as er_ace
    from mmcl.strategies.rehearsal_presets import gdumb as gdumb
    from mmcl.strategies.rehearsal_presets import lucir as lucir
    from mmcl.strategies.rehearsal_presets import wa as wa
    from mmcl.strategies.relational_distillation import RelationalDistillation as RelationalDistillation
    from mmcl.strategies.sequence_distillation import SequenceDistillation as SequenceDistillation
    from mmcl.strategies.stream_unlearning import unlearn_in_stream as unlearn_in_stream
    from mmcl.strategies.synaptic_intelligence import SynapticIntelligence as SynapticIntelligence
    from mmcl.strategies.template import MMCLTemplate as MMCLTemplate
    from mmcl.unlearning import unlearn as unlearn
    from mmcl.unlearning import unlearn_laf as unlearn_laf

__all__ = [
    "AccuracyMatrix",
    "AsymmetricCrossEntropy",
    "AnytimeAccuracy",
    "AudioDistillation",
    "BalancedDistillation",
    "BiasCorrection",
    "ClosedForm",
    "Coconut",
    "Contrast",
    "CoreTuning",
    "DarkExperience",
    "EarlyRehearsal",
    "EpisodicMemory",
    "ElasticWeights",
    "FirstSession",
    "FrameScores",
    "GDumb",
    "GradientProjection",
    "HeldOut",
    "LUCIR",
    "LearningToPrompt",
    "LogitDistillation",
    "M3CoL",
    "MMCLTemplate",
    "MemoryAwareSynapses",
    "NearestMean",
    "RationaleDistillation",
    "Rehearsal",
    "RelationalDistillation",
    "SequenceDistillation",
    "SynapticIntelligence",
    "TokenDistillation",
    "WeightAlignment",
    "agem",
    "bic",
    "coconut",
    "der",
    "der_pp",
    "distill_rationales",
    "er_ace",
    "ewc",
    "fecam",
    "first_session",
    "gdumb",
    "icarl",
    "joint",
    "l2p",
    "lucir",
    "lwf",
    "mas",
    "naive",
    "ncm",
    "ranpac",
    "replay",
    "si",
    "slda",
    "unlearn",
    "unlearn_in_stream",
    "unlearn_laf",
    "wa",
]

"""Losses on tensors: no training loop, no Avalanche, no files. Each is a thin definition on one kernel."""

from mmcl.objectives.distill import logit_distillation as logit_distillation
from mmcl.objectives.kernel import weighted_info_nce as weighted_info_nce
from mmcl.objectives.mm import MMLoss as MMLoss
from mmcl.objectives.nspt import NSPTLoss as NSPTLoss

__all__ = ["MMLoss", "NSPTLoss", "logit_distillation", "weighted_info_nce"]

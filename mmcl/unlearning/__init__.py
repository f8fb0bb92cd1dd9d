"""Unlearning: make a model forget samples that it was trained on, and measure whether it did."""

from mmcl.unlearning.laf import repair as repair
from mmcl.unlearning.laf import unlearn_laf as unlearn_laf
from mmcl.unlearning.parts import Parts as Parts
from mmcl.unlearning.retraining import train_classifier as train_classifier
from mmcl.unlearning.unlearn import METHODS as METHODS
from mmcl.unlearning.unlearn import unlearn as unlearn

__all__ = ["METHODS", "Parts", "repair", "train_classifier", "unlearn", "unlearn_laf"]

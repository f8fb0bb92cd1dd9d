"""Encoders put together."""

from mmcl.models.classifier import GrowingHead as GrowingHead
from mmcl.models.classifier import SLUClassifier as SLUClassifier

__all__ = ["GrowingHead", "SLUClassifier"]

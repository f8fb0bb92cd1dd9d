"""Heads: the layers that map encoder output to class logits or to a shared embedding space."""

from mmcl.models.heads.growing import GrowingHead as GrowingHead
from mmcl.models.heads.projection import HEADS as HEADS
from mmcl.models.heads.projection import Head as Head
from mmcl.models.heads.projection import HeadOptions as HeadOptions

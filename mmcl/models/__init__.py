"""Models built from encoders: classifiers, sequence models and two towers. Each is imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.models.classifier import SLUClassifier as SLUClassifier
    from mmcl.models.frame import Frame as Frame
    from mmcl.models.fusion import MultimodalClassifier as MultimodalClassifier
    from mmcl.models.heads.growing import GrowingHead as GrowingHead
    from mmcl.models.image_classifier import ImageClassifier as ImageClassifier
    from mmcl.models.momentum import MomentumEncoder as MomentumEncoder
    from mmcl.models.pretrained import from_pretrained as from_pretrained
    from mmcl.models.seq2seq import SLUSeq2Seq as SLUSeq2Seq
    from mmcl.models.tensor_classifier import TensorClassifier as TensorClassifier
    from mmcl.models.tokenizer import FrameTokenizer as FrameTokenizer
    from mmcl.models.two_tower import TwoTower as TwoTower

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

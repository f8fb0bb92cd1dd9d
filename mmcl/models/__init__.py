"""Encoders put together; each model is loaded when it is first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_names

if TYPE_CHECKING:
    from mmcl.models.classifier import GrowingHead as GrowingHead
    from mmcl.models.classifier import SLUClassifier as SLUClassifier
    from mmcl.models.frame import Frame as Frame
    from mmcl.models.fusion import MultimodalClassifier as MultimodalClassifier
    from mmcl.models.image_classifier import ImageClassifier as ImageClassifier
    from mmcl.models.pretrained import from_pretrained as from_pretrained
    from mmcl.models.seq2seq import SLUSeq2Seq as SLUSeq2Seq
    from mmcl.models.tokenizer import FrameTokenizer as FrameTokenizer
    from mmcl.models.two_tower import TwoTower as TwoTower

_LAZY = {
    "Frame": "mmcl.models.frame",
    "FrameTokenizer": "mmcl.models.tokenizer",
    "GrowingHead": "mmcl.models.classifier",
    "ImageClassifier": "mmcl.models.image_classifier",
    "MultimodalClassifier": "mmcl.models.fusion",
    "SLUClassifier": "mmcl.models.classifier",
    "SLUSeq2Seq": "mmcl.models.seq2seq",
    "TwoTower": "mmcl.models.two_tower",
    "from_pretrained": "mmcl.models.pretrained",
}
__all__ = list(_LAZY)
__getattr__, __dir__ = lazy_names(__name__, _LAZY)

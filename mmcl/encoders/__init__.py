"""Encoders of audio, image, text and tabular inputs, imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoded as Encoded
    from mmcl.encoders.base import Encoder as Encoder
    from mmcl.encoders.build import build_encoder as build_encoder
    from mmcl.encoders.cache import cached_features as cached_features
    from mmcl.encoders.feature_dataset import FeatureDataset as FeatureDataset

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

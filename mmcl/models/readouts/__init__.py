"""Read-outs: classifiers of embeddings that are computed in closed form from statistics, without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.models.readouts.base import ReadOut as ReadOut
    from mmcl.models.readouts.fecam import FeCAM as FeCAM
    from mmcl.models.readouts.nearest_class_mean import NearestClassMean as NearestClassMean
    from mmcl.models.readouts.ranpac import RanPAC as RanPAC
    from mmcl.models.readouts.streaming_lda import StreamingLDA as StreamingLDA

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

"""mmcl: multimodal and speech continual learning.

Encoders of image, text and audio plug into contrastive objectives. An Avalanche-based class-incremental loop adds
strategies against forgetting. Subpackages import their dependencies on first use, so ``import mmcl`` is fast: it loads
neither torch nor avalanche.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.former import install
from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.batch import Batch as Batch
    from mmcl.batch import Sample as Sample
    from mmcl.batch import collate as collate

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)
install()

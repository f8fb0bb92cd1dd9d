"""mmcl: multimodal and speech continual learning.

Encoders of image, text and audio plug into contrastive objectives, and an Avalanche-based class-incremental loop adds
strategies that keep a model from forgetting. Sub-packages load what they need when they are imported, so that
``import mmcl`` itself is quick: it loads neither torch nor avalanche.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmcl.batch import Batch as Batch
    from mmcl.batch import Sample as Sample
    from mmcl.batch import collate as collate

__version__ = "0.1.0"
_LAZY = {"Batch": "mmcl.batch", "Sample": "mmcl.batch", "collate": "mmcl.batch"}
__all__ = ["__version__", *_LAZY]


def __getattr__(name: str) -> object:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'mmcl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

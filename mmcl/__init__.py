"""mmcl: multimodal and speech continual learning.

Encoders of image, text and audio plug into contrastive objectives. An Avalanche-based class-incremental loop adds
strategies against forgetting. ``import mmcl`` is fast, because it loads neither torch nor avalanche; subpackages are
imported when they are first used::

    import mmcl

    loss = mmcl.objectives.CLIPLoss()
    strategy = mmcl.strategies.replay(model, optimizer)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.former import install
from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl import data as data
    from mmcl import encoders as encoders
    from mmcl import errors as errors
    from mmcl import metrics as metrics
    from mmcl import models as models
    from mmcl import objectives as objectives
    from mmcl import predict as predict
    from mmcl import rationales as rationales
    from mmcl import runs as runs
    from mmcl import seeding as seeding
    from mmcl import strategies as strategies
    from mmcl import training as training
    from mmcl import unlearning as unlearning
    from mmcl.batch import Batch as Batch
    from mmcl.batch import Sample as Sample
    from mmcl.batch import collate as collate

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)
install()

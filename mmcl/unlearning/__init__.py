"""Machine unlearning: methods that remove the influence of training samples from a model, and measures of success."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.unlearning import gradient_ascent as gradient_ascent
    from mmcl.unlearning import laf as laf
    from mmcl.unlearning import measures as measures
    from mmcl.unlearning import removal as removal
    from mmcl.unlearning import retraining as retraining
    from mmcl.unlearning import teachers as teachers
    from mmcl.unlearning.laf import repair as repair
    from mmcl.unlearning.laf import unlearn_laf as unlearn_laf
    from mmcl.unlearning.methods import METHODS as METHODS
    from mmcl.unlearning.methods import unlearn as unlearn
    from mmcl.unlearning.parts import Parts as Parts
    from mmcl.unlearning.retraining import train_classifier as train_classifier
    from mmcl.unlearning.sisa import ShardedEnsemble as ShardedEnsemble
    from mmcl.unlearning.sisa import train_sharded as train_sharded

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

"""Metrics as pure functions of matrices, lists and tensors; Avalanche adapters are in ``mmcl.strategies``.

Metrics of continual learning and of spoken language understanding are functions of this package. Others are in its
modules, such as ``mmcl.metrics.retrieval``. Each is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcl.lazy import lazy_imports

if TYPE_CHECKING:
    from mmcl.metrics import answers as answers
    from mmcl.metrics import calibration as calibration
    from mmcl.metrics import classification as classification
    from mmcl.metrics import embedding_map as embedding_map
    from mmcl.metrics import few_shot as few_shot
    from mmcl.metrics import linear_probe as linear_probe
    from mmcl.metrics import matrix as matrix
    from mmcl.metrics import nearest_neighbours as nearest_neighbours
    from mmcl.metrics import ranking as ranking
    from mmcl.metrics import representation as representation
    from mmcl.metrics import retrieval as retrieval
    from mmcl.metrics import scaling as scaling
    from mmcl.metrics import semantic_similarity as semantic_similarity
    from mmcl.metrics import similarity_structure as similarity_structure
    from mmcl.metrics import slu as slu
    from mmcl.metrics import unlearning as unlearning
    from mmcl.metrics import zero_shot as zero_shot
    from mmcl.metrics.matrix import average_accuracy as average_accuracy
    from mmcl.metrics.matrix import backward_transfer as backward_transfer
    from mmcl.metrics.matrix import forgetting as forgetting
    from mmcl.metrics.matrix import forward_transfer as forward_transfer
    from mmcl.metrics.matrix import last_accuracy as last_accuracy
    from mmcl.metrics.matrix import seen_accuracy as seen_accuracy
    from mmcl.metrics.matrix import summary as summary
    from mmcl.metrics.slu import entity_scores as entity_scores
    from mmcl.metrics.slu import slu_f1 as slu_f1
    from mmcl.metrics.slu import word_error_rate as word_error_rate

__getattr__, __dir__, __all__ = lazy_imports(__name__, __file__)

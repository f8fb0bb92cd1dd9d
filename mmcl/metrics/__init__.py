"""Metrics as pure functions of matrices and lists; Avalanche adapters are in ``mmcl.strategies``."""

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

__all__ = [
    "average_accuracy",
    "backward_transfer",
    "entity_scores",
    "forgetting",
    "forward_transfer",
    "last_accuracy",
    "seen_accuracy",
    "slu_f1",
    "summary",
    "word_error_rate",
]

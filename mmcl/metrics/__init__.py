"""Metrics: pure functions of matrices and lists; what adapts them to Avalanche stands apart."""

from mmcl.metrics.matrix import average_accuracy as average_accuracy
from mmcl.metrics.matrix import backward_transfer as backward_transfer
from mmcl.metrics.matrix import forgetting as forgetting
from mmcl.metrics.matrix import forward_transfer as forward_transfer
from mmcl.metrics.matrix import last_accuracy as last_accuracy
from mmcl.metrics.matrix import seen_accuracy as seen_accuracy

__all__ = [
    "average_accuracy",
    "backward_transfer",
    "forgetting",
    "forward_transfer",
    "last_accuracy",
    "seen_accuracy",
]

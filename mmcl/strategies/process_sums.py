"""sum_over_processes: sums of tensors, such as statistics and importances, over all processes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed
from torch import Tensor

from mmcl import distributed


def sum_over_processes(tensors: Iterable[Tensor], what: str) -> None:
    """Sum tensors of the same shapes over all processes, in place.

    Args:
        tensors: in the same order in each process.
        what: name of the tensors, for the error of a lost process.

    Raises:
        ProcessError: another process has ended, or did not respond within the timeout of the group.

    >>> sum_over_processes([torch.ones(2)], "statistics")  # one process: unchanged
    """
    if distributed.world_size() > 1:
        with distributed.together(f"to add up {what}"):
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

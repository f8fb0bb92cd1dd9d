"""L1: mean absolute error of a regression."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_finite_tensors, poisoned, precise
from mmcl.objectives.kernel.labels import targets_of
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class L1Loss(Objective):
    """Mean absolute error of predictions y' of targets y, as the loss of a regression or in a sum with ConR.

    ::

        loss = 1/n sum_i |y'_i - y_i|

    Args:
        temperature, block_size: not used.
        gather: average over the samples of all processes.

    Raises:
        ShapeError, InputError: predictions or targets are not one finite number per row.

    >>> L1Loss()(torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
    tensor(2.)
    """

    takes = ("predictions", "targets")

    def __init__(self, temperature: Temperature = 1.0, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, predictions: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            predictions: predicted numbers, ``(batch,)``.
            targets: the number to predict of each row, ``(batch,)``.
        """
        tile_size(predictions.device, self.block_size)
        if predictions.dim() != 1:
            raise ShapeError(f"predictions has shape {tuple(predictions.shape)}, expected one number per row, (batch,)")
        check_finite_tensors(predictions=predictions)
        targets = targets_of("targets", targets, len(predictions), predictions.device)
        count = Processes.of(predictions[:, None]).total if self.gather else len(predictions)
        with torch.autocast(predictions.device.type, enabled=False):
            (values,) = precise(predictions)
            total = (values - targets).abs().sum()
        return poisoned(total, targets.isfinite().all()) / max(count, 1)

"""NT-Xent: the normalized temperature-scaled cross-entropy loss of SimCLR."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class NTXentLoss(Objective):
    """Contrast the two views of each sample with all other views in the batch.

    With z the 2 n views, p(i) the other view of i's sample and <., .> the cosine::

        loss_i = -log [ exp(<z_i, z_p(i)> / temperature) / sum_{k != i} exp(<z_i, z_k> / temperature) ]

    The result is the mean over views.

    SimCLR (Chen et al. 2020, arXiv 2002.05709), equation 1 and algorithm 1.

    Args:
        temperature: greater than 0.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; views that are not paired.

    >>> views = torch.eye(2)
    >>> round(NTXentLoss(temperature=1.0)(views, views).item(), 4)  # log(e + 2) - 1
    0.5514
    """

    def __init__(self, temperature: Temperature = 0.1, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Return the loss of paired views, ``(batch, dim)`` each."""
        check_paired(view1=view1, view2=view2)
        features = torch.cat([view1, view2])
        return weighted_info_nce(
            features,
            features,
            Identity(len(features), shift=len(view1)),
            denominator=Identity(len(features)).complement(),
            **self.kernel,
        )

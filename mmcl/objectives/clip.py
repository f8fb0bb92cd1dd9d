"""CLIP: the symmetric contrastive loss between two modalities."""

from __future__ import annotations

from torch import Tensor

from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.two_way import two_way_info_nce
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class CLIPLoss(Objective):
    """InfoNCE between the paired rows of two sides, averaged over both directions.

    With <., .> the cosine::

        loss = 1/2 mean_i [ -log softmax_j(<a_i, b_j> / temperature)_i  -  log softmax_j(<b_i, a_j> / temperature)_i ]

    CLIP (Radford et al. 2021, arXiv 2103.00020), figure 3.

    Args:
        temperature: greater than 0; CLIP learns it, see :class:`~mmcl.objectives.LearnableTemperature`.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired.

    >>> import torch
    >>> round(CLIPLoss(temperature=1.0)(torch.eye(2), torch.eye(2)).item(), 4)  # log(e + 1) - 1
    0.3133
    """

    def __init__(self, temperature: Temperature = 0.07, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows, ``(batch, dim)`` each."""
        check_paired(a=a, b=b)
        pairs = Identity(len(a))
        forward, backward = two_way_info_nce(a, b, pairs, pairs, **self.kernel)
        return (forward + backward) / 2

"""Hard contrastive loss: InfoNCE with only the hardest negatives of each anchor."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import InputError
from mmcl.objectives.kernel.factors import similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.row_blocks import hardest_negatives, own_columns, sum_of_blocks
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of


class HardContrastiveLoss(Objective):
    """InfoNCE with only the hardest negatives of each anchor.

    With s_ij = <a_i, b_j> the cosine, and s_alpha(i) the lowest similarity among the given share of i's most similar
    negatives::

        H(i)   = { k != i : s_ik >= s_alpha(i) }
        loss_i = -log [ exp(s_ii / temperature) / sum_{k = i or in H(i)} exp(s_ik / temperature) ]

    The result is the mean over rows. The selection of negatives has no gradient. With ``share=1`` the loss is plain
    InfoNCE in one direction.

    Wang and Liu 2021 (arXiv 2012.09740), hard contrastive loss.

    Args:
        temperature: greater than 0.
        share: share of the negatives that count, in (0, 1]. At least one counts. 0.0819 in the paper, 4,095 of CIFAR's
            50,000 images.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired; a
            share outside (0, 1].

    >>> a, b = torch.tensor([[1.0, 0.0]] * 3), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    >>> loss = HardContrastiveLoss(temperature=1.0, share=0.5)(a, b)
    >>> round(loss.item(), 4)  # mean of log(1 + 1/e), log(1 + e), log(1 + e^2)
    1.2512
    """

    def __init__(
        self,
        temperature: Temperature = 0.1,
        share: float = 0.0819,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if number_of(share) is None or not 0 < share <= 1:
            raise InputError(f"share is {share!r}, expected a share of the negatives in (0, 1]")
        self.share = share

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows, ``(batch, dim)`` each."""
        check_paired(a=a, b=b)
        with torch.autocast(a.device.type, enabled=False):
            queries, keys, _ = similarity_factors(a, b, self.temperature)
            offset = 0
            if self.gather:
                processes = Processes.of(keys)
                keys, offset = processes.gather(keys), processes.own.start
            total = sum_of_blocks(
                lambda start, rows, keys: self._block_sum(rows, keys, offset + start),
                [queries],
                [keys],
                self.block_size,
            )
            return total / max(len(keys), 1)

    def _block_sum(self, rows: Tensor, keys: Tensor, offset: int) -> Tensor:
        compared = hardest_negatives(rows, keys, offset, self.share)
        compared = compared.scatter(1, own_columns(compared, offset), True)
        pairs = Identity(len(rows), offset=offset, keys=len(keys))
        mean = weighted_info_nce(
            rows, keys, pairs, denominator=compared, temperature=1.0, normalize=False, block_size=len(keys)
        )
        return mean * len(rows)

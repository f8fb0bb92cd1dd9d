"""Simple contrastive loss: similarities without a logarithm or exponentials, of all or of the hardest negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.config.numbers import NonNegative
from mmcl.errors import InputError
from mmcl.objectives.kernel.factors import similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.row_blocks import hardest_negatives, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, weight_of


class SimpleContrastiveLoss(Objective):
    """Raise the similarity of positives, and lower that of negatives, all negatives alike.

    With s_ij = <a_i, b_j> / temperature, <., .> the cosine, and H(i) the given share of i's most similar negatives::

        loss_i = -s_ii + weight / |H(i)| sum_{k in H(i)} s_ik

    The result is the mean over rows. The selection of negatives has no gradient. With ``share=1`` and ``weight=1`` this
    is the limit of InfoNCE at large temperatures: t B / (B - 1) (InfoNCE_t - log B) for t to infinity. It is not aware
    of hard negatives and hardly separates samples. The hard simple loss, with a small share, does.

    Wang and Liu 2021 (arXiv 2012.09740), simple and hard simple loss. Differs from the paper: the sum over negatives is
    divided by their number, so that the weight lambda = weight / |H(i)| does not depend on the batch; the paper's
    lambda is not known to us. The paper has no temperature here, which is a temperature of 1.

    Args:
        temperature: greater than 0; only scales the loss.
        share: share of the negatives that count, in (0, 1]; 1 for the simple loss. At least one counts. 0.0819 in the
            paper's hard simple loss, 4,095 of CIFAR's 50,000 images.
        weight: weight of the negatives, 0 or greater.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired; a
            share outside (0, 1]; a negative weight.

    >>> a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    >>> round(SimpleContrastiveLoss()(a, b).item(), 4)  # (-1 + 0.6 - 0.8 + 0) / 2
    -0.6
    """

    def __init__(
        self,
        temperature: Temperature = 1.0,
        share: float = 1.0,
        weight: NonNegative = 1.0,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if number_of(share) is None or not 0 < share <= 1:
            raise InputError(f"share is {share!r}, expected a share of the negatives in (0, 1]")
        weight_of("weight", weight)
        self.share, self.weight = share, weight

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows, ``(batch, dim)`` each."""
        check_paired(a=a, b=b)
        tile_size(a.device, self.block_size)
        with torch.autocast(a.device.type, enabled=False):
            queries, own_keys, _ = similarity_factors(a, b, self.temperature)
            keys, offset = own_keys, 0
            if self.gather:
                processes = Processes.of(own_keys)
                keys, offset = processes.gather(own_keys), processes.own.start
            positives = (queries * own_keys).sum()
            if self.share == 1:
                negatives = ((queries @ keys.sum(0)).sum() - positives) / max(len(keys) - 1, 1)
            else:
                negatives = sum_of_blocks(
                    lambda start, rows, keys: self._negatives(rows, keys, offset + start),
                    [queries],
                    [keys],
                    self.block_size,
                )
            return (self.weight * negatives - positives) / max(len(keys), 1)

    def _negatives(self, rows: Tensor, keys: Tensor, offset: int) -> Tensor:
        """Return the sum over a block of the mean similarity to the hardest negatives."""
        kept = hardest_negatives(rows, keys, offset, self.share).to(rows.dtype)
        return ((rows @ keys.T * kept).sum(1) / kept.sum(1).clamp(min=1)).sum()

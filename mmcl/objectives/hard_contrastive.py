"""Hard contrastive loss: only the negatives nearest to an anchor count."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmcl.errors import InputError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_paired, precise
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, temperature_of


class HardContrastiveLoss(Objective):
    """Pull each row towards its pair, away from the hardest of the other rows alone.

    With s_ij = <a_i, b_j> the cosine, and s_alpha(i) the least of the share of i's negatives that are most similar to
    it::

        H(i)   = { k != i : s_ik >= s_alpha(i) }
        loss_i = -log [ exp(s_ii / temperature) / sum_{k = i or in H(i)} exp(s_ik / temperature) ]

    and the result is the mean over rows. Which negatives count is a choice without gradient. With ``share=1`` it is
    plain InfoNCE, in one direction.

    Wang and Liu 2021 (arXiv 2012.09740), hard contrastive loss.

    Args:
        temperature: greater than 0.
        share: of the negatives that count, within (0, 1], at least one; 0.0819 in the paper (4,095 of CIFAR's 50,000).
        block_size: rows that are looked at together; None chooses.
        gather: as of ``weighted_info_nce``.

    Raises:
        ShapeError, InputError, ConfigError: as of ``weighted_info_nce``; sides that are not paired,
            a share outside (0, 1].

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
            raise InputError(f"share is {share!r}, expected a share of the negatives within (0, 1]")
        self.share = share

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows ``(batch, dim)``."""
        check_paired(a=a, b=b)
        with torch.autocast(a.device.type, enabled=False):
            queries, keys = precise(a, b)
            queries, keys = unit(queries, 1 / temperature_of(self.temperature)), unit(keys)
            own = Identity(len(a))
            if self.gather:
                processes = Processes.of(keys)
                keys, own = processes.gather(keys), own.gathered(processes)
            size = tile_size(a.device, self.block_size)
            total = 0 * (queries.sum() + keys.sum())  # a process without rows takes part in the others' gradients
            for start in range(0, len(queries), size):
                rows = queries[start : start + size]
                pairs = Identity(len(rows), offset=own.offset + start, keys=len(keys))
                # Recomputed in backward: no more than one block's similarities are held.
                part = checkpoint(self._part, rows, keys, pairs, use_reentrant=False)
                total = total + part * len(rows)
            return total / max(len(keys), 1)

    def _part(self, rows: Tensor, keys: Tensor, pairs: Identity) -> Tensor:
        places = torch.arange(pairs.offset, pairs.offset + len(rows), device=rows.device)[:, None]
        similarities = (rows.detach() @ keys.detach().T).scatter(1, places, -torch.inf)
        kept = min(max(1, math.ceil(self.share * (len(keys) - 1))), len(keys))
        least = similarities.topk(kept, dim=1).values[:, -1:]
        # Negatives that are equally hard differ by rounding, in another way in each block.
        slack = 8 * torch.finfo(rows.dtype).eps * rows.detach().norm(dim=1, keepdim=True)
        compared = (similarities >= least - slack).scatter(1, places, True)
        return weighted_info_nce(
            rows, keys, pairs, denominator=compared, temperature=1.0, normalize=False, block_size=len(keys)
        )

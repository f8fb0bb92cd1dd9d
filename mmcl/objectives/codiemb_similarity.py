"""CoDiEmb's loss of semantic similarity: correlation with graded scores, and their order."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.config.numbers import NonNegative
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_paired, poisoned, precise
from mmcl.objectives.kernel.labels import targets_of
from mmcl.objectives.kernel.row_blocks import sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of, weight_of

_TIED = 1e-8


class CoDiEmbSimilarityLoss(Objective):
    """Fit the cosines of paired rows to graded similarities, in correlation, in rank and in order.

    With s_i the cosine of pair i, y_i its graded similarity, t the temperature and n pairs::

        loss      = pearson (1 - r(s, y)) + rank_kl D / n + order L
        D         = sum_i p_i (log p_i - log q_i)     p = softmax(u / t), q = softmax(s / t)
        u_i       = (n - 1 - rank_i) / (n - 1)        rank 0 for the highest y; equal y have the mean of their ranks
        L         = mean over i of log [sum_j exp(w_j s_j / t)] - w_i s_i / t     over j = i and all y_j < y_i
        w_j       = y_i - y_j                         w_i = max_j w_j

    r is Pearson's correlation. The mean of L is over pairs i that have a lower pair. If all y are equal, r and L are
    undefined and count 0. If all s are equal, r counts 0.

    CoDiEmb (Tencent, youtu-embedding), as in its released code, whose ``batchmean`` is the 1/n of D; the text of the
    paper was not at hand. Differs from the code: its fourth term, InfoNCE on the middle hidden layer, is left out,
    because encoders here return their last layer only.

    Args:
        temperature: t, greater than 0; 0.05 in the released code.
        pearson, rank_kl, order: weights of the terms, 0 or greater.
        block_size: number of pairs i per block of L; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired;
            graded similarities that are not one finite number for each pair; a negative weight.

    >>> a, b = torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # cosines 1 and 0
    >>> loss = CoDiEmbSimilarityLoss(temperature=1.0, rank_kl=0.0, order=1.0)
    >>> round(loss(a, b, torch.tensor([1.0, 0.0])).item(), 4)  # r = 1; log(e + 1) - 1
    0.3133
    """

    takes = ("a", "b", "targets")

    def __init__(
        self,
        temperature: Temperature = 0.05,
        pearson: NonNegative = 2.0,
        rank_kl: NonNegative = 5.0,
        order: NonNegative = 0.5,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        for name, value in (("pearson", pearson), ("rank_kl", rank_kl), ("order", order)):
            weight_of(name, value)
        self.pearson, self.rank_kl, self.order = pearson, rank_kl, order

    def forward(self, a: Tensor, b: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            a, b: paired rows, ``(batch, dim)`` each.
            targets: graded similarity of each pair, ``(batch,)``; in [0, 1] in the released code.
        """
        check_paired(a=a, b=b)
        tile_size(a.device, self.block_size)
        targets = targets_of("targets", targets, len(a), a.device)
        with torch.autocast(a.device.type, enabled=False):
            scores = (unit(precise(a, b)[0]) * unit(precise(a, b)[1])).sum(1)
            share, own = 1.0, slice(0, len(a))
            if self.gather:
                processes = Processes.of(scores[:, None])
                scores, targets = processes.gather(scores), processes.gather(targets)
                share, own = 1 / len(processes.sizes), processes.own
            grades = targets.to(scores.dtype)
            temperature = temperature_of(self.temperature)
            logits = scores / temperature
            whole = self.pearson * _uncorrelated(scores, grades) + self.rank_kl * _rank_divergence(
                logits, grades, temperature
            )
            ordered = sum_of_blocks(_order, [logits[own], grades[own]], [logits, grades], self.block_size)
            lower = (grades > grades.min() + _TIED).sum() if len(grades) else grades.sum()
            loss = share * whole + self.order * ordered / lower.clamp(min=1)
            return poisoned(loss, targets.isfinite().all())


def _uncorrelated(scores: Tensor, grades: Tensor) -> Tensor:
    """Return 1 - Pearson's correlation, 0 if all grades are equal."""
    both = [each - each.mean() if len(each) else each for each in (scores, grades)]
    for place, each in enumerate(both):
        # The rounding of equal numbers has no direction.
        noise = 8 * torch.finfo(each.dtype).eps * max(len(each), 1) ** 0.5
        scale = (scores, grades)[place].detach().abs().amax() if len(each) else each.sum()
        both[place] = torch.where(each.detach().norm() > noise * scale, each, 0)
    correlation = (unit(both[0][None]) * unit(both[1][None])).sum()
    return torch.where(both[1].any(), 1 - correlation, 0 * correlation)


def _rank_divergence(logits: Tensor, grades: Tensor, temperature: float | Tensor) -> Tensor:
    """Return the divergence of softmax of scores from that of ranks, divided by the number of pairs."""
    count = len(grades)
    if count < 2:
        return 0 * logits.sum()
    ordered = grades.sort().values
    at_most, below = (torch.searchsorted(ordered, grades, right=right) for right in (True, False))
    # Of n numbers, those below and half of the other equal ones: n - 1 - rank.
    heights = (below + at_most - 1).to(logits.dtype) / 2 / (count - 1)
    wanted, found = (heights / temperature).log_softmax(0), logits.log_softmax(0)
    return (wanted.exp() * (wanted - found)).sum() / count


def _order(start: int, logits: Tensor, grades: Tensor, other_logits: Tensor, other_grades: Tensor) -> Tensor:
    """Return the sum over pairs i of the loss of being chosen above all pairs of lower grades."""
    gaps = grades[:, None] - other_grades
    lower = gaps > _TIED
    highest = torch.where(lower, gaps, 0).amax(1) if len(other_grades) else gaps.sum(1)
    own = highest * logits
    others = (gaps * other_logits).masked_fill(~lower, torch.finfo(logits.dtype).min)
    sums = torch.cat([own[:, None], others], 1).logsumexp(1)
    return torch.where(lower.any(1), sums - own, 0).sum()

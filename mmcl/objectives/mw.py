"""MW: every positive pair against every negative pair of all queries, which maximizes the pooled AUC."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, check_paired, precise
from mmcl.objectives.kernel.row_blocks import own_columns
from mmcl.objectives.kernel.softplus_sums import SoftplusSums
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of

Reduction = Literal["sum", "mean"]

_DENSE = 2**20  # comparisons that are computed at once


class MWLoss(Objective):
    """Rank the similarity of each positive pair above those of all negative pairs, also of other queries.

    With s+_i = <q_i, p_i> / temperature of unit-length rows, and S- all similarities of queries with passages that are
    not their own, of all queries::

        loss = 1/n sum_i sum_{s- in S-} log(1 + exp(s- - s+_i))

    InfoNCE compares a positive with the negatives of its own query only, so that scores of different queries need not
    be comparable. Here they are: the share of wrongly ordered pairs, 1 - AUC over all queries, is at most the mean loss
    divided by log 2. Passages of other queries count as negatives, even if they are equal to a query's own.

    Sheikholeslami et al. 2025 (arXiv 2510.00137, MW loss): equation 3, with S- of n (n - 1) similarities, or
    n (n - 1 + n h) with h hard negatives for each query. ``reduction="mean"`` is equation 2, the expectation: it also
    divides by the size of S-. Differs from the paper: its equation 3 has no temperature, which is as in its lemma 2.

    n^3 comparisons are not made one by one: :class:`~mmcl.objectives.kernel.softplus_sums.SoftplusSums` adds them up
    over all positives, with an error of 1e-10 for each comparison, down to a temperature of 0.001.

    Args:
        temperature: greater than 0; 0.01 in the paper's experiments.
        reduction: ``"sum"`` over negatives, or ``"mean"``, whose size does not depend on the batch.
        block_size: number of queries per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides or hard negatives that
            are not paired; an unknown reduction.

    >>> round(MWLoss(temperature=1.0)(torch.eye(2), torch.eye(2)).item(), 4)  # 2 log(1 + 1/e)
    0.6265
    """

    optional = ("hard_negatives",)

    def __init__(
        self,
        temperature: Temperature = 0.01,
        reduction: Reduction = "sum",
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if reduction not in ("sum", "mean"):
            raise InputError(f"reduction is {reduction!r}, expected 'sum' (equation 3) or 'mean' (equation 2)")
        self.reduction = reduction

    def forward(self, queries: Tensor, passages: Tensor, hard_negatives: Tensor | None = None) -> Tensor:
        """Return the loss of paired queries and passages.

        Args:
            queries, passages: ``(batch, dim)`` each; passage i is the positive of query i.
            hard_negatives: further passages, none of them positive, ``(batch, negatives, dim)``. All queries are
                compared with all of them. None for none.
        """
        check_paired(queries=queries, passages=passages)
        given = (
            [queries, passages] if hard_negatives is None else [queries, passages, _checked(hard_negatives, queries)]
        )
        size = tile_size(queries.device, self.block_size)
        with torch.autocast(queries.device.type, enabled=False):
            inverse = 1 / temperature_of(self.temperature)
            rows, keys, *hard = precise(*given)
            rows, keys = unit(rows, inverse), unit(keys)
            hard = [unit(each.flatten(0, 1)).view(each.shape) for each in hard]
            positives, own, total = (rows * keys).sum(1), 0, len(rows)
            if self.gather:
                processes = Processes.of(rows)
                own, total = processes.own.start, processes.total
                positives, keys, *hard = [processes.gather(each) for each in (positives, keys, *hard)]
            keys = torch.cat([keys, *(each.flatten(0, 1) for each in hard)])
            if not total or len(keys) == 1:
                return 0 * (rows.sum() * inverse + keys.sum())
            loss = self._compared(rows, keys, positives, inverse, own, size) / total
            return loss / (total * (len(keys) - 1)) if self.reduction == "mean" else loss

    def _compared(
        self, rows: Tensor, keys: Tensor, positives: Tensor, highest: float | Tensor, own: int, size: int
    ) -> Tensor:
        """Return the sum over all positives and all negatives of these rows."""
        if len(rows) <= size and len(rows) * len(keys) * len(positives) <= _DENSE:
            similarities = rows @ keys.T
            negatives = similarities.scatter(1, own_columns(similarities, own), -torch.inf)
            return softplus(negatives[:, :, None] - positives, threshold=50).sum()
        sums = SoftplusSums.of(positives, highest, self.block_size)
        return sums.of_products(rows, keys, own, self.block_size)


def _checked(hard_negatives: Tensor, queries: Tensor) -> Tensor:
    if hard_negatives.dim() != 3 or len(hard_negatives) != len(queries):
        raise ShapeError(
            f"hard_negatives has shape {tuple(hard_negatives.shape)} for {len(queries)} queries, expected "
            "(batch, negatives, dim)"
        )
    check_features(queries=queries, hard_negatives=hard_negatives.flatten(0, 1))
    return hard_negatives

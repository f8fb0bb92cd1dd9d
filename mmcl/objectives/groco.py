"""GroCo: learning by sorting, which ranks all positives above the hardest negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import Count
from mmcl.errors import ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, precise, stacked_views
from mmcl.objectives.kernel.row_blocks import own_columns, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import whole
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of


class GroCoLoss(Objective):
    """Sort the similarities of an anchor by a differentiable network, and penalize positives in ranks of negatives.

    The anchor z_iv is sample i in view v. Its positives are the other views of i, its negatives the ``negatives`` most
    similar other samples in view v. Similarities are cosines divided by the temperature. With n of them in all, an
    odd-even network of n layers swaps neighbours in part::

        a', b' = alpha a + (1 - alpha) b, (1 - alpha) a + alpha b,    alpha = arctan(b - a) / pi + 1/2

    p_x, the probability that similarity x ends in the ranks of positives, follows from the alphas. Then::

        loss_iv = 1/n [ sum_{positives x} -log p_x + sum_{negatives x} -log(1 - p_x) ]

    The result is the mean over samples and views. Keys get no gradient. A batch with fewer samples has fewer negatives;
    a single sample has none and counts 0. The network costs O(n^2) for each anchor, and its permutation matrix is not
    built.

    Shvetsova et al. 2023 (arXiv 2301.02009, GroCo), with the Cauchy distribution of diffsort (Petersen et al., arXiv
    2105.04019) as in the released code, whose mean of two equal cross-entropies is one of them here.

    Args:
        temperature: 1 / steepness of the network, greater than 0; 1 in the released code.
        negatives: number of hardest negatives, 1 or more.
        stop_gradient: treat keys as constants.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; fewer than two views; crops
            of other samples; an invalid number of negatives.

    >>> views = torch.eye(2).expand(2, 2, 2)
    >>> round(GroCoLoss()(views).item(), 4)  # -log(arctan(1) / pi + 1/2) = log(4/3)
    0.2877
    """

    takes = ("views",)

    def __init__(
        self,
        temperature: Temperature = 1.0,
        negatives: Count = 10,
        stop_gradient: bool = True,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        self.negatives, self.stop_gradient = whole("negatives", negatives), stop_gradient

    def forward(self, views: Tensor | Sequence[Tensor], crops: Tensor | None = None) -> Tensor:
        """Return the loss of paired views.

        Args:
            views: ``(views, batch, dim)``, at least two.
            crops: embeddings of small crops of the same samples, ``(crops, batch, dim)``, which are anchors only.
        """
        views = stacked_views(views)
        tile_size(views.device, self.block_size)
        if crops is not None:
            if crops.dim() != 3 or crops.shape[1:] != views.shape[1:]:
                raise ShapeError(f"crops have shape {tuple(crops.shape)}, expected (crops, *{tuple(views.shape[1:])})")
            check_features(**{f"crop {number}": crop for number, crop in enumerate(crops)})
        with torch.autocast(views.device.type, enabled=False):
            anchors = precise(views if crops is None else torch.cat([views, crops.to(views.dtype)]))[0]
            units = unit(anchors.flatten(0, 1)).view(anchors.shape)
            keys = units.detach() if self.stop_gradient else units
            processes = Processes.of(views[0]) if self.gather else None
            total = 0 * units.sum()
            for number, anchor in enumerate(anchors):
                positives = [other for other in range(len(views)) if other != number]
                total = total + self._loss(anchor, keys[positives], keys[number], processes)
            return total / max(len(anchors) * (processes.total if processes else views.shape[1]), 1)

    def _loss(self, anchors: Tensor, positives: Tensor, keys: Tensor, processes: Processes | None) -> Tensor:
        """Return the sum of the losses of one view's anchors."""
        rows = unit(anchors, 1 / temperature_of(self.temperature))
        aligned = torch.einsum("bd,pbd->bp", rows, positives)
        keys, offset = (processes.gather(keys), processes.own.start) if processes else (keys, 0)
        return sum_of_blocks(
            lambda start, rows, aligned, keys: self._block_loss(offset + start, rows, aligned, keys),
            [rows, aligned],
            [keys],
            self.block_size,
        )

    def _block_loss(self, offset: int, rows: Tensor, aligned: Tensor, keys: Tensor) -> Tensor:
        similarities = rows @ keys.T
        similarities = similarities.scatter(1, own_columns(similarities, offset), -torch.inf)
        count = min(self.negatives, len(keys) - 1)
        hardest = similarities.topk(count, dim=1).values.flip(1)
        ordered = torch.cat([hardest, aligned.sort(1).values], 1)
        shares = low_rank_shares(ordered, count)
        right = torch.cat([shares[:, :count], 1 - shares[:, count:]], 1)
        return -right.clamp(min=torch.finfo(right.dtype).tiny).log().sum() / ordered.shape[1]  # 0 by rounding


@takes_tensors
def low_rank_shares(values: Tensor, ranks: int) -> Tensor:
    """Return the probability that each value is among the lowest after differentiable odd-even sorting.

    The permutation matrix of the network is a product of one matrix for each layer. Only its product with the indicator
    of the lowest ranks is computed, from the last layer to the first.

    Args:
        values: ``(batch, values)``.
        ranks: number of lowest ranks.

    Returns:
        Probabilities ``(batch, values)``; each row adds up to ``ranks``.

    >>> low_rank_shares(torch.tensor([[0.0, 1.0]]), ranks=1)
    tensor([[0.7500, 0.2500]])
    """
    count, kept = values.shape[1], []
    for layer in range(count):
        first, second = _pairs(values, layer % 2)
        kept.append((second - first).atan() / math.pi + 0.5)
        values = _mixed(values, kept[-1], layer % 2)
    shares = (torch.arange(count, device=values.device) < ranks).to(values.dtype).expand_as(values)
    for layer in reversed(range(count)):
        shares = _mixed(shares, kept[layer], layer % 2)
    return shares


def _pairs(values: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """Return both neighbours of each pair, the first pair beginning at a position."""
    end = start + 2 * ((values.shape[1] - start) // 2)
    return values[:, start:end:2], values[:, start + 1 : end : 2]


def _mixed(values: Tensor, stay: Tensor, start: int) -> Tensor:
    """Return values with neighbours swapped in part; ``stay`` is the share that is not swapped."""
    first, second = _pairs(values, start)
    both = torch.stack([stay * first + (1 - stay) * second, (1 - stay) * first + stay * second], 2).flatten(1)
    return torch.cat([values[:, :start], both, values[:, start + both.shape[1] :]], 1)

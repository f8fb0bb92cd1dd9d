"""CACR: contrastive attraction and repulsion, with weights within the positives and within the negatives."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from mmcl.config.numbers import NonNegative, Probability, Size
from mmcl.errors import InputError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import precise, stacked_views
from mmcl.objectives.kernel.row_blocks import own_columns, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import Queue
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, temperature_of, weight_of


class CACRLoss(Objective):
    """Attract far positives and repel close negatives more than others.

    With K views, z_iv the unit-length embedding of sample i in view v, and the cost c(x, y) = |x - y|^2::

        attraction = 1/K sum_v mean_i sum_{u != v} p_ivu c(z_iv, z_iu)         p = softmax_u(t c)
        repulsion  = -mean over v < u of mean_i sum_{j != i} n_ij c(z_iv, z_ju)   n = softmax_j(-c / temperature)
        loss       = alpha attraction + beta repulsion

    Weights have gradients. With two views, p is 1. A single sample has no negatives. ``debias`` r replaces the
    repulsion R_i of a sample by (R_i - r c(z_iv, z_iu)) / (1 - r), because some negatives are of the sample's class.

    With a ``queue``, as in the paper's form on MoCo, attraction is towards keys of a momentum encoder, with constant
    weights. Negatives of z_iv are the queue, with constant distances in the softmax, and z_jv of the same view. The
    keys of the last view enter the queue. Without ``keys``, the views without gradient are the keys.

    Zheng et al. 2023 (arXiv 2105.03746, CACR), t+ = ``attraction_scale`` and t- = 1 / temperature, as in the released
    code of the small experiments. Differs from its ImageNet code, which has constant weights and other costs.

    Args:
        temperature: 1 / t- of the paper, greater than 0. The paper has t- = 0.9 for CIFAR-10, 2 for other data sets.
        attraction_scale: t+ of the paper, 0 or greater; 0 for equal weights of positives.
        alpha, beta: weights of attraction and repulsion, 0 or greater.
        debias: r above, in [0, 1); 0.1 in the released code's option, 0 for none.
        queue: number of keys in the queue; 0 for none.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; fewer than two views; a
            negative weight or scale; a queue smaller than the batch.

    >>> views = torch.eye(2).expand(2, 2, 2)
    >>> CACRLoss()(views).item()  # attraction 0, repulsion -2
    -2.0
    """

    takes = ("views",)

    def __init__(
        self,
        temperature: Temperature = 0.5,
        attraction_scale: NonNegative = 1.0,
        alpha: NonNegative = 1.0,
        beta: NonNegative = 1.0,
        debias: Probability = 0.0,
        queue: Size = 0,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        for name, value in (("attraction_scale", attraction_scale), ("alpha", alpha), ("beta", beta)):
            weight_of(name, value)
        if number_of(debias) is None or not 0 <= debias < 1:
            raise InputError(f"debias is {debias!r}, expected a share in [0, 1)")
        self.attraction_scale, self.alpha, self.beta, self.debias = attraction_scale, alpha, beta, debias
        self.queue = Queue(queue) if queue else None

    def forward(self, views: Tensor | Sequence[Tensor], keys: Tensor | None = None) -> Tensor:
        """Return the loss of paired views.

        Args:
            views: ``(views, batch, dim)``.
            keys: embeddings of the same views by a momentum encoder, for the queue; None for the views themselves.
        """
        views = stacked_views(views)
        if self.queue is not None:
            self.queue.prepare(views[0])
        tile_size(views.device, self.block_size)
        with torch.autocast(views.device.type, enabled=False):
            (views,) = precise(views)
            processes = Processes.of(views[0]) if self.gather else None
            units = unit(views.flatten(0, 1)).view(views.shape)
            if self.queue is None:
                total = self.alpha * self._attraction(units, units) + self._repulsion(views, units, processes)
            else:
                targets = units.detach() if keys is None else self._keys(keys, views)
                total = self._from_queue(self.queue, views, units, processes)
                total = total + self.alpha * self._attraction(units, targets)
                self.queue.push(targets[-1], processes)
            return total / max(processes.total if processes else views.shape[1], 1)

    @staticmethod
    def _keys(keys: Tensor, views: Tensor) -> Tensor:
        keys = stacked_views(keys).detach().to(views)
        return unit(keys.flatten(0, 1)).view(views.shape)

    def _attraction(self, units: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over samples of the mean over views of the expected cost of positives."""
        costs = 2 - 2 * torch.einsum("vbd,ubd->vub", units, targets)
        own = torch.eye(len(units), dtype=torch.bool, device=units.device)[:, :, None]
        scores = costs.detach() if self.queue is not None else costs
        weights = (self.attraction_scale * scores).masked_fill(own, -torch.inf).softmax(1)
        return (weights * costs).sum() / len(units)

    def _repulsion(self, views: Tensor, units: Tensor, processes: Processes | None) -> Tensor:
        """Return beta times the sum over samples of the repulsion, averaged over pairs of views."""
        both = list(combinations(range(len(views)), 2))
        keys = processes.gather(units.transpose(0, 1)).transpose(0, 1) if processes else units
        offset = processes.own.start if processes else 0
        temperature = temperature_of(self.temperature)
        total = 0 * units.sum() * temperature
        if keys.shape[1] < 2:
            return total
        for v, u in both:
            rows = unit(views[v], 2 / temperature)
            expected = sum_of_blocks(
                lambda start, rows, keys: _expected(rows, keys, offset + start), [rows], [keys[u]], self.block_size
            )
            costs = (2 - 2 * (units[v] * units[u]).sum(1)).sum()
            repulsion = temperature * expected - 2 * len(rows)
            total = total + (repulsion - self.debias * costs) / (1 - self.debias)
        return self.beta * total / len(both)

    def _from_queue(self, keys: Queue, views: Tensor, units: Tensor, processes: Processes | None) -> Tensor:
        """Return beta times the sum over samples of the negated expected cost of the queue and the same view."""
        temperature = temperature_of(self.temperature)
        queue, filled = keys.snapshot().to(units), keys.filled
        gathered = processes.gather(units.transpose(0, 1)).transpose(0, 1) if processes else units
        offset = processes.own.start if processes else 0
        total = 0 * units.sum() * temperature
        for v, own in enumerate(gathered):
            rows = unit(views[v], 2 / temperature)
            expected = sum_of_blocks(
                lambda start, rows, keys, queue, filled: _expected(rows, keys, offset + start, queue, filled),
                [rows],
                [own, queue, filled],
                self.block_size,
            )
            # Without any negative, the cost is 0 as well.
            negatives = (filled.any() | (len(own) > 1)).to(rows.dtype)
            total = total + temperature * expected - 2 * len(rows) * negatives
        return self.beta * total / len(views)


def _expected(
    rows: Tensor, keys: Tensor, offset: int, queue: Tensor | None = None, filled: Tensor | None = None
) -> Tensor:
    """Return the sum over rows of the expected similarity of their negatives under its softmax."""
    logits = rows @ keys.T
    hidden = torch.zeros_like(logits, dtype=torch.bool).scatter(1, own_columns(logits, offset), True)
    scores = logits
    if queue is not None and filled is not None:
        others = rows @ queue.T
        scores = torch.cat([logits, others.detach()], 1)
        logits, hidden = torch.cat([logits, others], 1), torch.cat([hidden, (~filled).expand_as(others)], 1)
    weights = scores.masked_fill(hidden, torch.finfo(scores.dtype).min).softmax(1).masked_fill(hidden, 0)
    return (weights * logits).sum()

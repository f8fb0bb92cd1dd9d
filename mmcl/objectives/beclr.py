"""BECLR: contrast of few views with a momentum encoder, in a batch enhanced by neighbours from a clustered memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mmcl.config.numbers import Count, NonNegative, Size
from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import log_denominators
from mmcl.objectives.kernel.inputs import check_paired, precise
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import ClusteredQueue, whole
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, temperature_of, weight_of


class BECLRLoss(Objective):
    """Predict the momentum encoder's embedding of the other view, and push samples apart.

    With z_iv the unit-length embedding of sample i in view v = 1, 2, t_iv that of the momentum encoder, p_iv the output
    of a predictor for z_iv, and N pairs of embeddings of different samples::

        L_align = -mean_iv <p_iv, t_iw>                                     w is the other view
        L_neg   = log [ 1/N sum_{iv} sum_{jw, j != i} exp(<z_iv, z_jw> / temperature) ]
        loss    = L_align + weight L_neg

    Each of p, z and t has its own memory of former embeddings, a :class:`~mmcl.objectives.memory.ClusteredQueue`. For
    each sample and view, the ``neighbours`` most similar rows in the cluster of its nearest prototype join the batch as
    further samples without gradient. Those of p and t are paired by sample and rank. In L_neg the neighbours of a
    sample are among its negatives. They join once the memories are full. A single sample has no L_neg.

    Poulakakis-Daktylidis and Jamali-Rad 2024 (ICLR, BECLR), with the negatives of the released code's configs. Differs
    from it: neighbours are found before the batch enters the memory, where the code finds a sample itself first; the
    warm-up is counted in calls instead of epochs; the clusters start otherwise, see
    :class:`~mmcl.objectives.memory.ClusteredQueue`; images of one branch are not masked.

    Args:
        temperature: greater than 0; 2 in the released code.
        dim: dimension of the embeddings, which the predictor takes.
        weight: weight of L_neg, 0 or greater.
        memory: number of rows of each memory, more than those of a batch of two views; 8000 in the released code.
        clusters: number of clusters of each memory; 200 in the released code.
        neighbours: rows that join the batch for each sample and view; 0 for none.
        warmup: calls in training mode before neighbours join; 60 of 400 epochs in the released code.
        as_released: assign rows of the memory to the farthest prototypes, as the released code does.
        block_size: number of rows per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; rows that are not two views
            of each sample, or have another ``dim``; a memory smaller than the batch; an invalid number.

    >>> loss = BECLRLoss(dim=4, neighbours=0)(torch.eye(4), torch.eye(4))
    >>> loss.shape
    torch.Size([])
    """

    takes = ("features", "teacher")
    steps: Tensor

    def __init__(
        self,
        temperature: Temperature = 2.0,
        dim: Count = 128,
        weight: NonNegative = 0.1,
        memory: Count = 8000,
        clusters: Count = 200,
        neighbours: Size = 5,
        warmup: Size = 0,
        as_released: bool = False,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        weight_of("weight", weight)
        self.dim, self.weight = whole("dim", dim), weight
        for name, value in {"neighbours": neighbours, "warmup": warmup}.items():
            number = number_of(value)
            if number is None or number != int(number) or number < 0:
                raise InputError(f"{name} is {value!r}, expected an integer of 0 or more")
        self.neighbours, self.warmup = neighbours, warmup
        if neighbours > whole("memory", memory):
            raise InputError(f"neighbours is {neighbours} with a memory of {memory} rows, expected at most as many")
        names = ("predicted", "student", "teacher") if neighbours else ()
        self.memories = nn.ModuleDict(
            {name: ClusteredQueue(memory, clusters, as_released=as_released) for name in names}
        )
        hidden = max(dim // 4, 1)
        self.predictor = nn.Sequential(
            nn.Linear(dim, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim)
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, features: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss, and add the embeddings to the memories in training mode.

        Args:
            features: embeddings of both views, view after view, ``(2 * batch, dim)``.
            teacher: embeddings of the same views by the momentum encoder, ``(2 * batch, dim)``.
        """
        check_paired(features=features, teacher=teacher)
        if len(features) % 2 or features.shape[1] != self.dim:
            raise ShapeError(
                f"features have shape {tuple(features.shape)}, expected two views of each sample, (2 * batch, "
                f"{self.dim}): set views to 2, and dim to that of the embeddings"
            )
        with torch.autocast(features.device.type, enabled=False):
            (rows,) = precise(features)
            weight = next(self.predictor.parameters())
            predicted = self.predictor(rows.to(weight.dtype)).to(rows) if len(rows) else rows
            return self.of_views(*(each.view(2, -1, self.dim) for each in (predicted, rows, teacher)))

    def of_views(self, predicted: Tensor, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the loss of given predictions, and add to the memories in training mode; ``(2, batch, dim)`` each."""
        check_paired(predicted=predicted.flatten(0, 1), student=student.flatten(0, 1), teacher=teacher.flatten(0, 1))
        tile_size(student.device, self.block_size)
        temperature_of(self.temperature)
        with torch.autocast(student.device.type, enabled=False):
            sides, share = precise(predicted, student, teacher.detach()), 1
            if self.gather:
                processes = Processes.of(sides[0][0])
                sides = [processes.gather(each.transpose(0, 1)).transpose(0, 1) for each in sides]
                share = len(processes.sizes)
            units = [unit(each.flatten(0, 1)) for each in sides]
            if not len(units[0]):
                return 0 * torch.stack([each.sum() for each in units]).sum()
            near, active = self._neighbours(units), self.steps >= self.warmup
            for memory in self._queues():
                active = active & memory.filled[-1]
            loss = self._alignment(units, near, active) + self.weight * self._negatives(units[1], near, active)
            if self.training:
                for memory, rows in zip(self._queues(), units, strict=False):
                    memory.push(rows)
                self.steps.add_(1)
            return loss / share

    def _queues(self) -> list[ClusteredQueue]:
        return [each for each in self.memories.values() if isinstance(each, ClusteredQueue)]

    def _neighbours(self, units: list[Tensor]) -> list[Tensor]:
        """Return the neighbours of each row from the memory of its kind, ``(2 * batch, neighbours, dim)`` each."""
        return [
            memory.neighbours(rows.detach(), self.neighbours, self.block_size)
            for memory, rows in zip(self._queues(), units, strict=False)
        ]

    def _alignment(self, units: list[Tensor], near: list[Tensor], active: Tensor) -> Tensor:
        predicted, _, teacher = units
        half, joined = len(predicted) // 2, active.to(predicted.dtype)
        total = (predicted * teacher.roll(half, 0)).sum()
        if near:
            total = total + joined * (near[0] * near[2].roll(half, 0)).sum()
        return -total / (len(predicted) * (1 + self.neighbours * joined))

    def _negatives(self, rows: Tensor, near: list[Tensor], active: Tensor) -> Tensor:
        count = len(rows) // 2
        if count < 2:
            return 0 * rows.sum()
        total, pairs = self._log_sum(rows), math.log(2 * count * (2 * count - 2))
        if not near:
            return total - pairs
        others = near[1].flatten(0, 1)
        between = log_denominators(rows, others, temperature=self.temperature, block_size=self.block_size)
        whole_sum = torch.stack([total, between.logsumexp(0) + math.log(2), self._log_sum(others)]).logsumexp(0)
        size = 2 * count * (1 + self.neighbours)
        return torch.where(active, whole_sum - math.log(size * (size - 2)), total - pairs)

    def _log_sum(self, rows: Tensor) -> Tensor:
        """Return the logarithm of the sum over all rows and rows of other samples, given view after view."""
        samples = torch.arange(len(rows) // 2, device=rows.device).repeat(2)
        others = SameLabel(samples).complement()
        sums = log_denominators(rows, rows, others, temperature=self.temperature, block_size=self.block_size)
        return sums.logsumexp(0)

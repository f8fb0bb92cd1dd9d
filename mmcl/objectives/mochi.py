"""MoCHi: contrast with a queue of keys and with mixtures of each query's hardest negatives."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import Count, Size
from mmcl.errors import InputError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import log_denominators
from mmcl.objectives.kernel.inputs import check_paired, precise
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.memory import Queue
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of, temperature_of


class MoCHiLoss(Objective):
    """Contrast a query with its key, a queue of former keys, and mixtures of its hardest negatives.

    With q, k and n the unit-length query, key and keys in the queue, and h the mixtures::

        loss_i = -log [ exp(<q_i, k_i> / temperature) / sum_{x = k_i, n or h_i} exp(<q_i, x> / temperature) ]

    Mixtures are made of the N = ``hardest`` most similar keys in the queue, have unit length and no gradient::

        h = c n_1 + (1 - c) n_2     ``mixed`` of them, c ~ U(0, 1)
        h = c q_i + (1 - c) n_1     ``mixed_queries`` of them, c ~ U(0, 0.5)

    n_1 and n_2 are drawn uniformly, with replacement. The result is the mean over queries. Keys get no gradient and
    enter the queue in each call in training mode. Without mixtures this is MoCo, and the loss of Contriever (Izacard et
    al. 2022, arXiv 2112.09118) on unit-length embeddings: keys of other queries of the batch are no negatives. A first
    batch without queue has loss 0. Make the keys with :class:`~mmcl.models.momentum.MomentumEncoder`.

    Kalantidis et al. 2020 (arXiv 2010.01028, MoCHi), where it is MoCHi(hardest, mixed, mixed_queries). Differs from the
    paper: its warm-up is counted in calls instead of epochs.

    Args:
        temperature: greater than 0; 0.2 in the paper.
        queue: number of keys in the queue; 16384 in the paper for 100 classes of ImageNet, 65536 for all.
        hardest: N, number of hardest negatives that are mixed.
        mixed, mixed_queries: numbers of mixtures of each kind, for each query; 0 for none.
        warmup: calls in training mode before mixtures are used; 10 epochs in the paper.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired; a
            queue smaller than the batch; an invalid number.

    >>> objective = MoCHiLoss(temperature=1.0, queue=4, mixed=0, mixed_queries=0)
    >>> objective(torch.eye(2), torch.eye(2)).item()  # the queue is empty
    0.0
    >>> round(objective(torch.eye(2), torch.eye(2)).item(), 4)  # log(2 e + 1) - 1
    0.862
    """

    steps: Tensor

    def __init__(
        self,
        temperature: Temperature = 0.2,
        queue: Count = 16384,
        hardest: Count = 1024,
        mixed: Size = 1024,
        mixed_queries: Size = 128,
        warmup: Size = 0,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        numbers = {"hardest": hardest, "mixed": mixed, "mixed_queries": mixed_queries, "warmup": warmup}
        for name, value in numbers.items():
            number, lowest = number_of(value), 1 if name == "hardest" else 0
            if number is None or number != int(number) or number < lowest:
                raise InputError(f"{name} is {value!r}, expected an integer of {lowest} or more")
        self.hardest, self.mixed, self.mixed_queries, self.warmup = hardest, mixed, mixed_queries, warmup
        self.queue = Queue(queue)
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return the loss, with random mixtures, and add the keys to the queue.

        Args:
            queries: embeddings of one view by the encoder, ``(batch, dim)``.
            keys: embeddings of another view by the momentum encoder, ``(batch, dim)``.
        """
        loss = self.of_mixtures(queries, keys, self.mixtures(queries))
        if self.training:
            with torch.no_grad():
                rows = unit(*precise(keys.detach()))
                self.queue.push(rows, Processes.of(rows) if self.gather else None)
                self.steps.add_(1)
        return loss

    def of_mixtures(self, queries: Tensor, keys: Tensor, mixtures: Tensor | None) -> Tensor:
        """Return the loss with given mixtures, and leave the queue as it is.

        Args:
            queries, keys: ``(batch, dim)`` each.
            mixtures: additional negatives of unit length, ``(batch, mixtures, dim)``; None for none.
        """
        check_paired(queries=queries, keys=keys)
        self.queue.prepare(keys)
        rows, targets = precise(queries, keys.detach())
        held, filled = self.queue.snapshot().to(rows), self.queue.compared(len(queries))
        sums = log_denominators(rows, held, filled, temperature=self.temperature, block_size=self.block_size)
        with torch.autocast(queries.device.type, enabled=False):
            rows, targets = unit(rows, 1 / temperature_of(self.temperature)), unit(targets)
            own = (rows * targets).sum(1)
            sums = torch.logaddexp(sums, own)
            if mixtures is not None and mixtures.shape[1]:
                similarities = torch.einsum("bd,bmd->bm", rows, mixtures.detach().to(rows))
                active = (self.steps >= self.warmup) & (self.queue.count > 0)
                similarities = torch.where(active, similarities, torch.finfo(rows.dtype).min)
                sums = torch.logaddexp(sums, similarities.logsumexp(1))
            total = (sums - own).sum()
            return total / max(Processes.of(rows).total if self.gather else len(rows), 1)

    @torch.no_grad()
    def mixtures(self, queries: Tensor) -> Tensor | None:
        """Return random mixtures of each query's hardest negatives, ``(batch, mixtures, dim)``; None for none."""
        count = len(queries)
        if not count or not self.mixed + self.mixed_queries or queries.dim() != 2:
            return None
        self.queue.prepare(queries)
        rows = unit(*precise(queries.detach()))
        hardest = self._hardest(rows)
        # Only as many places are drawn from as the queue has rows.
        usable = self.queue.count.clamp(1, hardest.shape[1])
        shape = (count, 2 * self.mixed + self.mixed_queries)
        places = (torch.rand(shape, device=rows.device) * usable).long().clamp(max=hardest.shape[1] - 1)
        chosen = hardest.gather(1, places)
        first, second, alone = chosen.split([self.mixed, self.mixed, self.mixed_queries], 1)
        shares = torch.rand(count, self.mixed + self.mixed_queries, device=rows.device, dtype=rows.dtype)
        pairs, own = shares.split([self.mixed, self.mixed_queries], 1)
        held = self.queue.rows.to(rows)
        mixed = [mix(held[first], held[second], pairs), mix(rows[:, None].expand_as(held[alone]), held[alone], own / 2)]
        return torch.cat(mixed, 1)

    def _hardest(self, rows: Tensor) -> Tensor:
        """Return the places of the keys that are most similar to each query, the most similar first."""
        count, held, found = min(self.hardest, self.queue.size), self.queue.rows.to(rows), []
        for block in rows.split(tile_size(rows.device, self.block_size)):
            similarities = (block @ held.T).masked_fill(~self.queue.filled, -torch.inf)
            found.append(similarities.topk(count, dim=1).indices)
        return torch.cat(found)


@takes_tensors
def mix(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Return mixtures ``share one + (1 - share) other``, scaled to unit length.

    Args:
        one, other: ``(batch, mixtures, dim)``.
        share: ``(batch, mixtures)``.

    >>> mix(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0.5]]))
    tensor([[[0.7071, 0.7071]]])
    """
    mixed = share[..., None] * one + (1 - share[..., None]) * other
    return unit(mixed.flatten(0, 1)).view(mixed.shape)

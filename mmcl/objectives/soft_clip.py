"""SoftCLIP: a contrastive loss with the softmax of within-modality similarities as soft targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_paired, precise
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.two_way import two_way_info_nce
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of


class SoftClipLoss(Objective):
    """Contrast two modalities with the similarities within the second one as soft targets.

    With <., .> the cosine and C_ij = <a_i, b_j> / temperature::

        Q_ij = softmax_j(<b_i, b_j> / temperature)
        loss = 1/2 [ -mean_i sum_j Q_ij log softmax_j(C_i)_j  -  mean_i sum_j Q_ij log softmax_j(C^T_i)_j ]

    The same Q serves both directions, and it gets gradients. This is the loss of one ordered pair of modalities;
    MultiSClip of M3CoL adds the losses of its ordered pairs.

    M3CoL (Kumar et al., arXiv 2409.17777), MultiSClip, as in the released code. The objective is SoftCLIP of MindEye
    (Scotti et al., arXiv 2305.18274).

    Args:
        temperature: greater than 0.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired.

    >>> round(SoftClipLoss(temperature=1.0)(torch.eye(2), torch.eye(2)).item(), 4)  # log(e + 1) - e / (e + 1)
    0.5822
    """

    def __init__(
        self, temperature: Temperature = 0.125, *, block_size: int | None = None, gather: bool = False
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the loss of paired rows, ``(batch, dim)`` each; the similarities within ``b`` are the targets."""
        check_paired(a=a, b=b)
        temperature = temperature_of(self.temperature)
        with torch.autocast(b.device.type, enabled=False):
            features, _ = precise(b, a)
            pairs = _Softmax.of(unit(features, temperature**-0.5), Identity(len(b)))
        forward, backward = two_way_info_nce(
            a,
            b,
            pairs,
            pairs,
            temperature=temperature,
            block_size=self.block_size,
            gather=self.gather,
        )
        return (forward + backward) / 2


@dataclass(frozen=True, eq=False)
class _Softmax(Pairs):
    """Q, applied along rows and again along columns. Products with a large Q use attention, which does not store it."""

    features: Tensor
    own: Identity
    processes: Processes | None = None
    materialized: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, own: Identity, processes: Processes | None = None) -> _Softmax:
        """Create Q from features; it is stored for both directions if it fits into a tile."""
        small = max(own.shape) <= tile_size(features.device, None)
        return cls(features, own, processes, (own.matmul(features) @ features.T).softmax(1) if small else None)

    @property
    def shape(self) -> tuple[int, int]:
        return self.own.shape

    def matmul(self, keys: Tensor) -> Tensor:
        if self.materialized is not None:
            return self.materialized @ keys
        queries = self.own.matmul(self.features)
        q, k, v = (rows[None, None] for rows in (queries, self.features, keys))
        return scaled_dot_product_attention(q, k, v, scale=1.0)[0, 0]

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        raise NotImplementedError("SoftCLIP needs only sums and dots of its targets")

    def column_dots(self, queries: Tensor, keys: Tensor, similarities: Tensor | None = None) -> Tensor:
        if self.materialized is not None and similarities is not None and self.processes is None:
            return (self.materialized.T * similarities).sum(0)
        all_queries = queries if self.processes is None else self.processes.gather(queries)
        own = (self.own.matmul(keys) * self.matmul(all_queries)).sum(1, keepdim=True)
        return self.own.transposed_matmul(own).squeeze(1)

    def row_sums(self, like: Tensor) -> Tensor:
        return like.new_ones(self.shape[0])

    def column_sums(self, like: Tensor) -> Tensor:
        return self.own.column_sums(like)

    def gathered(self, processes: Processes) -> Pairs:
        return _Softmax.of(processes.gather(self.features), self.own.gathered(processes), processes)

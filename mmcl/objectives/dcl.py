"""DCL and DCLW: NT-Xent without the positive pair in its denominator."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import weighted_info_nce
from mmcl.objectives.kernel.inputs import check_paired, precise
from mmcl.objectives.kernel.pairs import Identity, SameLabel
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, positive


class DCLLoss(Objective):
    """Decoupled contrastive loss: NT-Xent without the positive pair in the denominator.

    With z the 2 n views, p(i) the other view of i's sample and <., .> the cosine::

        loss_i = -w_i <z_i, z_p(i)> / temperature + log sum_{k != i, p(i)} exp(<z_i, z_k> / temperature)

    The result is the mean over views. DCL has w = 1. DCLW, enabled by ``sigma``, gives close pairs less weight. The
    weights get no gradient::

        w_i = 2 - exp(<z_i, z_p(i)> / sigma) / mean_j exp(<z_j, z_p(j)> / sigma)

    A single sample has no negatives and counts 0. Yeh et al. 2022 (arXiv 2110.06848), L_DC and L_DCW. Differs from the
    paper: mean over both views instead of their sum.

    Args:
        temperature: greater than 0.
        sigma: scale of DCLW's weights, 0.5 in the paper; None for DCL.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; views that are not paired;
            ``sigma`` is not greater than 0.

    >>> views = torch.eye(2)
    >>> round(DCLLoss(temperature=1.0)(views, views).item(), 4)  # log 2 - 1
    -0.3069
    """

    def __init__(
        self,
        temperature: Temperature = 0.1,
        sigma: float | None = None,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        if sigma is not None:
            positive("sigma", sigma)
        self.sigma = sigma

    def forward(self, view1: Tensor, view2: Tensor) -> Tensor:
        """Return the loss of paired views, ``(batch, dim)`` each."""
        check_paired(view1=view1, view2=view2)
        features, count = torch.cat([view1, view2]), len(view1)
        first = Processes.of(view1).own.start if self.gather else 0  # sample indices are unique across processes
        samples = torch.arange(first, first + count, device=view1.device).repeat(2)
        positives: Pairs = Identity(2 * count, shift=count)
        if self.sigma is not None:
            positives = positives.scaled(self._weights(view1.detach(), view2.detach(), self.sigma).repeat(2))
        return weighted_info_nce(
            features,
            features,
            positives,
            denominator=SameLabel(samples).complement(),
            temperature=self.temperature,
            normalize_rows=False,
            coefficient=torch.ones_like(samples),
            block_size=self.block_size,
            gather=self.gather,
        )

    def _weights(self, view1: Tensor, view2: Tensor, sigma: float) -> Tensor:
        one, other = precise(view1, view2)
        scores = (unit(one) * unit(other)).sum(1) / sigma
        processes = Processes.of(scores) if self.gather else None
        all_scores = processes.gather(scores) if processes else scores
        return 2 - len(all_scores) * (scores - all_scores.logsumexp(0)).exp()

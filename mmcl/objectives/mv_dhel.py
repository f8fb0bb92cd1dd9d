"""MV-DHEL: a decoupled multi-view loss, with one alignment term and one uniformity term per view."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import log_denominators
from mmcl.objectives.kernel.inputs import stacked_views
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.products import in_float32
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of


class MVDHELLoss(Objective):
    """Align all views of a sample in one term, and spread the samples within each view.

    With K views, u_il the unit-length embedding of sample i in view l, and <., .> the cosine::

        loss_i = -log sum_{l < m} exp(<u_il, u_im> / temperature)
                 + sum_l log sum_{j != i} exp(<u_il, u_jl> / temperature)

    The result is the mean over samples. The two terms are decoupled: the denominators contain no positive pairs.

    Koromilas et al. 2025, arXiv 2507.06979, MV-DHEL, as in the released code: each pair of views counts once, and a
    sample is not its own negative. The README of that code sums over l != m, which subtracts log 2, and includes j = i.

    Args:
        temperature: greater than 0.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; fewer than two views.

    >>> views = torch.eye(2).expand(3, 2, 2)
    >>> round(MVDHELLoss(temperature=1.0)(views).item(), 4)  # -log(3 e) + 3 log(1)
    -2.0986
    """

    takes = ("views",)

    def __init__(self, temperature: Temperature = 0.1, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, views: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss of paired views, ``(views, batch, dim)``; 0 for a single sample."""
        views = stacked_views(views)
        count, batch, _ = views.shape
        processes = Processes.of(views[0]) if self.gather else None
        samples = processes.total if processes else batch
        if samples < 2:  # no negatives
            return 0 * views.sum()
        others = Identity(batch).complement()
        (views,), products = in_float32(views.flatten(0, 1))
        rows = views.view(count, batch, views.shape[1])
        with products:
            spread = torch.stack([log_denominators(view, view, others, **self.kernel) for view in rows]).sum(0)
        with torch.autocast(views.device.type, enabled=False):
            scale = 1 / temperature_of(self.temperature)
            rows = unit(views).view(rows.shape)
            first, second = torch.triu_indices(count, count, 1, device=views.device)
            alignment = ((rows[first] * rows[second]).sum(2) * scale).logsumexp(0)
        return (spread - alignment).sum() / samples

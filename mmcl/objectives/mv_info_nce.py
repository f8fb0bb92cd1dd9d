"""MV-InfoNCE: InfoNCE with all pairs of several views in one term."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import log_denominators
from mmcl.objectives.kernel.inputs import stacked_views
from mmcl.objectives.kernel.pairs import Identity, SameLabel
from mmcl.objectives.kernel.products import in_float32
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of


class MVInfoNCELoss(Objective):
    """Contrast all pairs of views of a sample with all other pairs, in one term.

    With K views, u_il the unit-length embedding of sample i in view l, and <., .> the cosine::

        loss_i = -log [ sum_{l != m} exp(<u_il, u_im> / temperature)
                        / sum_l sum_{(j, m) != (i, l)} exp(<u_il, u_jm> / temperature) ]

    The result is the mean over samples. If both of two views are equal, this is NT-Xent.

    Koromilas et al. 2025, arXiv 2507.06979, MV-InfoNCE, as in the released code: a view is compared with all views. The
    README of that code compares it with the other views only (``same_view=False``).

    Args:
        temperature: greater than 0.
        same_view: compare each view also with other samples in the same view.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; fewer than two views.

    >>> views = torch.eye(2).expand(2, 2, 2)
    >>> round(MVInfoNCELoss(temperature=1.0)(views).item(), 4)  # -log(2 e / (2 (e + 2)))
    0.5514
    """

    takes = ("views",)

    def __init__(
        self,
        temperature: Temperature = 0.1,
        same_view: bool = True,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        self.same_view = same_view

    def forward(self, views: Tensor | Sequence[Tensor]) -> Tensor:
        """Return the loss of paired views, ``(views, batch, dim)``."""
        views = stacked_views(views)
        count, batch, _ = views.shape
        (features,), products = in_float32(views.flatten(0, 1))
        compared: Pairs = Identity(len(features)).complement()
        if not self.same_view:
            compared = SameLabel(torch.arange(count, device=views.device).repeat_interleave(batch)).complement()
        with products:
            spread = log_denominators(features, features, compared, **self.kernel).view(count, batch).logsumexp(0)
        with torch.autocast(views.device.type, enabled=False):
            scale = 1 / temperature_of(self.temperature)
            rows = unit(features).view(count, batch, features.shape[1])
            # Each pair of views counts in both orders.
            first, second = torch.triu_indices(count, count, 1, device=views.device).repeat(1, 2)
            alignment = ((rows[first] * rows[second]).sum(2) * scale).logsumexp(0)
            samples = Processes.of(views[0]).total if self.gather else batch
            return (spread - alignment).sum() / max(samples, 1)

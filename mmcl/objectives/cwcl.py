"""CWCL: a contrastive loss with continuous weights from similarities within a frozen modality."""

from __future__ import annotations

from torch import Tensor

from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.pairs import Identity, Similarity
from mmcl.objectives.kernel.two_way import two_way_info_nce
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature


class CWCLLoss(Objective):
    """Align a trained modality with the similarity structure of a frozen, pretrained modality.

    With p the trained rows, q the frozen ones and <., .> the cosine::

        w_ij    = (1 + <q_i, q_j>) / 2
        forward = -mean_i 1/(sum_j w_ij) sum_j w_ij log softmax_k(<p_i, q_k> / temperature)_j
        plain   = -mean_i log softmax_k(<q_i, p_k> / temperature)_i
        loss    = forward + plain

    The direction trained -> frozen has continuous weights, the other is plain InfoNCE. The weights get no gradient.

    CWCL (Srinivasa et al., arXiv 2309.14580). The paper's text was not available. The formula and the directions follow
    independent re-implementations and the abstract of its patent.

    Args:
        temperature: greater than 0.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired.

    >>> import torch
    >>> round(CWCLLoss(temperature=1.0)(torch.eye(2), torch.eye(2)).item(), 4)  # (log(e + 1) - 2/3) + (log(e + 1) - 1)
    0.9599
    """

    def __init__(self, temperature: Temperature = 0.07, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, trained: Tensor, frozen: Tensor) -> Tensor:
        """Return the loss of paired rows, ``(batch, dim)`` each."""
        check_paired(trained=trained, frozen=frozen)
        forward, plain = two_way_info_nce(
            trained,
            frozen,
            Similarity(frozen.detach()),
            Identity(len(frozen)),
            **self.kernel,
        )
        return forward + plain

"""Reranking: losses of yes and no logits for candidates, contrastive or fine-tuned, and their hybrids."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_paired, checks_values, poisoned, precise
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of

Side = Literal["cl", "sft"]


class RerankingLoss(Objective):
    """Score candidates of a query by the logits of "yes" and "no", by weights and directions of two losses.

    Candidate 0 is the positive. With y_j and n_j the logits of candidate j, divided by the temperature::

        CL   = log sum_j exp(y_j) - y_0
        SFT  = log(1 + exp(n_0 - y_0)) + sum_{j > 0} log(1 + exp(y_j - n_j))

    Both losses have gradients -W_0 D_0 for the positive and W_j D_j for negatives, of a weight W and a direction D::

        CL   W_0 = 1 - q_0, W_j = q_j, q = softmax_j(y)           D_j = gradient of y_j
        SFT  W_0 = 1 - p_0, W_j = p_j, p = sigmoid(y_j - n_j)     D_j = gradient of y_j - n_j

    ``weight`` and ``direction`` choose each on its own, with four combinations. The value is that of the loss that
    gives the weight. The result is the mean over queries. Sort candidates by y with the CL direction, by y - n with the
    SFT direction.

    SFT or contrastive learning for multimodal reranking (GMR). Neither its text nor its code was at hand: CL and SFT
    are as a summary states them, their decomposition is derived here, and hybrids are a reading of its unified loss.
    That y is a logit, not a probability, is a reading too.

    Args:
        temperature: divides logits, greater than 0.
        weight, direction: ``"cl"`` or ``"sft"``.
        block_size: not used.
        gather: average over the queries of all processes.

    Raises:
        ShapeError, InputError: logits that are not paired or not finite; a query whose candidate 0 is masked; an
            unknown weight or direction.

    >>> yes, no = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)
    >>> loss = RerankingLoss(weight="cl", direction="cl")(yes, no)  # log(e + 1) - 1
    >>> round(loss.item(), 4), round(RerankingLoss()(yes, no).item(), 4)  # log(1 + 1/e) + log 2
    (0.3133, 1.0064)
    """

    takes = ("yes", "no")

    def __init__(
        self,
        temperature: Temperature = 1.0,
        weight: Side = "sft",
        direction: Side = "sft",
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        for name, value in (("weight", weight), ("direction", direction)):
            if value not in ("cl", "sft"):
                raise InputError(f"{name} is {value!r}, expected 'cl' or 'sft'")
        self.weight, self.direction = weight, direction

    def forward(self, yes: Tensor, no: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the loss of queries with candidates.

        Args:
            yes, no: logits of each candidate, the positive first, ``(batch, candidates)`` each.
            mask: whether a candidate counts, boolean ``(batch, candidates)``, for unequal lists; None for all.
        """
        check_paired(yes=yes, no=no)
        tile_size(yes.device, self.block_size)
        count = Processes.of(yes).total if self.gather else len(yes)
        with torch.autocast(yes.device.type, enabled=False):
            scale = 1 / temperature_of(self.temperature)
            accept, refuse = (each * scale for each in precise(yes, no))
            if not yes.shape[1]:
                return (accept + refuse).sum()
            mask = torch.ones_like(yes, dtype=torch.bool) if mask is None else _checked(mask, yes)
            # The value of the weight's loss stays, and only its gradient takes the other direction.
            if self.weight == "cl":
                if self.direction == "sft":
                    accept = accept - (refuse - refuse.detach())
                logits = accept.masked_fill(~mask, torch.finfo(accept.dtype).min)
                loss = (logits.logsumexp(1) - accept[:, 0]).sum()
            else:
                margins = accept - (refuse.detach() if self.direction == "cl" else refuse)
                negatives = torch.where(mask, softplus(margins, threshold=50), 0)[:, 1:]
                loss = softplus(-margins[:, 0], threshold=50).sum() + negatives.sum()
            return poisoned(loss, mask[:, 0].all()) / max(count, 1)


def _checked(mask: Tensor, yes: Tensor) -> Tensor:
    if mask.dtype != torch.bool or mask.shape != yes.shape:
        raise ShapeError(
            f"mask is {mask.dtype} of shape {tuple(mask.shape)}, expected torch.bool of shape {tuple(yes.shape)}"
        )
    if checks_values(mask) and not bool(mask[:, 0].all()):
        row = int((~mask[:, 0]).nonzero()[0])
        raise InputError(f"mask of query {row} leaves out candidate 0, expected the positive there")
    return mask

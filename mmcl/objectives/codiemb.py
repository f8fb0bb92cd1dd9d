"""CoDiEmb's loss of retrieval: InfoNCE of each of several positives, with the hard negatives of all queries."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.info_nce import log_denominators
from mmcl.objectives.kernel.inputs import check_features, precise
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, temperature_of


class CoDiEmbRetrievalLoss(Objective):
    """Contrast a query with each of its positives, against those of other queries and all hard negatives.

    With q_i, p_ij and h_ik the unit-length query, its positives and its hard negatives, and <., .> the cosine divided
    by the temperature::

        loss = mean over i and j of log sum_{x in X_j} exp(<q_i, x>) - <q_i, p_ij>
        X_j  = {p_kj of all queries k} and {h_kl of all queries k and negatives l}

    Positives of other places j are not compared, so that those of one query never push each other away. With one
    positive and no hard negatives, this is InfoNCE in one direction.

    CoDiEmb (Tencent, youtu-embedding), as in its released code; the text of the paper was not at hand. Where a query
    has fewer positives than others, repeat one. Differs from the code: no additional queries of other devices, unless
    ``gather``.

    Args:
        temperature: greater than 0; 0.02 in the released code.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; positives or hard negatives
            that are not of the queries, or no positives.

    >>> loss = CoDiEmbRetrievalLoss(temperature=1.0)
    >>> round(loss(torch.eye(2), torch.eye(2), -torch.eye(2)[:, None]).item(), 4)  # log(e + 2 + 1/e) - 1
    0.6265
    """

    optional = ("hard_negatives",)

    def __init__(self, temperature: Temperature = 0.02, *, block_size: int | None = None, gather: bool = False) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)

    def forward(self, queries: Tensor, positives: Tensor, hard_negatives: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            queries: ``(batch, dim)``.
            positives: ``(batch, dim)``, or several of each query, ``(batch, positives, dim)``.
            hard_negatives: ``(batch, negatives, dim)``; None for none.
        """
        positives = positives[:, None] if positives.dim() == 2 else positives
        banks = _checked(queries, positives=positives, hard_negatives=hard_negatives)
        if not positives.shape[1]:
            raise ShapeError(f"positives has shape {tuple(positives.shape)}, expected 1 or more of each query")
        with torch.autocast(queries.device.type, enabled=False):
            # Rows are scaled once, because each further use would add to their gradient in their own precision.
            rows, *passages = precise(queries, *banks.values())
            rows = unit(rows, 1 / temperature_of(self.temperature))
            close, *hard = [unit(each) for each in passages]
            close = close.view(positives.shape)
            total = -torch.einsum("bd,bpd->", rows, close)
            negatives = [self._log_sums(rows, each) for each in hard]
            for keys in close.unbind(1):
                sums = self._log_sums(rows, keys.contiguous())
                total = total + (torch.logaddexp(sums, negatives[0]) if negatives else sums).sum()
            count = Processes.of(rows).total if self.gather else len(rows)
            return total / max(count * positives.shape[1], 1)

    def _log_sums(self, rows: Tensor, keys: Tensor) -> Tensor:
        """Return the logsumexp of the products of each row with keys of all processes, ``(batch,)``."""
        return log_denominators(
            rows, keys, temperature=1.0, normalize=False, block_size=self.block_size, gather=self.gather
        )


def _checked(queries: Tensor, **banks: Tensor | None) -> dict[str, Tensor]:
    """Return passages of all queries, ``(batch * passages, dim)``, by name, without those that are None."""
    flat = {}
    for name, each in banks.items():
        if each is None:
            continue
        if each.dim() != 3 or len(each) != len(queries):
            raise ShapeError(
                f"{name} has shape {tuple(each.shape)} for {len(queries)} queries, expected (batch, {name}, dim)"
            )
        flat[name] = each.flatten(0, 1)
    check_features(queries=queries, **flat)
    return flat

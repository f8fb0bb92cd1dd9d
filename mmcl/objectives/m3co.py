"""M3Co: a mixture of two samples finds the other modality of both."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import InputError
from mmcl.objectives.kernel.info_nce import two_way_info_nce
from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.pairs import Mixed
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of


class M3CoLoss(Objective):
    """Contrast mixtures of one modality with the unmixed rows of the other, one ordered pair of modalities.

    With x~_i = lam_i x_i + (1 - lam_i) x_perm(i), targets P with P_ii = lam_i and P_i,perm(i) = 1 - lam_i, and C the
    cosines of mixed and unmixed rows / temperature::

        forward  = -1/n sum_ij P_ij   log softmax_j(C_i)_j
        backward = -1/n sum_ij P^T_ij log softmax_j(C^T_i)_j
        loss     = (forward + backward) / 2

    The transposed targets are not normalised again. lam_i ~ Beta(alpha, alpha) for a share of the rows, 1 for the rest.
    The paper adds the losses of its ordered pairs: text mixed against image, and image mixed against text.

    M3CoL (Kumar et al., arXiv 2409.17777), M3Co; the normalisation is that of its released code. Differs from that
    code: a row whose partner is itself has target 1 in place of 1 - lam, and the unmixed side stays unmixed.

    Args:
        temperature: greater than 0.
        alpha: of the Beta distribution, greater than 0.
        mix_share: chance that a row is mixed, within [0, 1].
        block_size, gather: as of ``weighted_info_nce``; partners are of one process.

    Raises:
        ShapeError, InputError, ConfigError: as of ``weighted_info_nce``; sides that are not paired,
            lam outside [0, 1], a permutation that is none.

    >>> swap, half = torch.tensor([1, 0]), torch.tensor([0.5, 0.5])
    >>> loss = M3CoLoss(temperature=1.0).from_mixed(torch.ones(2, 2), torch.eye(2), swap, half)
    >>> round(loss.item(), 4)  # all cosines are alike: log 2
    0.6931
    """

    def __init__(
        self,
        temperature: Temperature = 0.1,
        alpha: float = 0.15,
        mix_share: float = 0.5,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        numbers = number_of(alpha), number_of(mix_share)
        if None in numbers or not (0 < alpha < torch.inf and 0 <= mix_share <= 1):
            raise InputError(
                f"alpha is {alpha!r}, mix_share {mix_share!r}: expected alpha > 0 and a share within [0, 1]"
            )
        self.alpha, self.mix_share = alpha, mix_share

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Mix the rows of a, ``(batch, dim)``, and return the loss against b, ``(batch, dim)``."""
        check_paired(a=a, b=b)
        mixed, permutation, lam = self.mix(a)
        return self.from_mixed(mixed, b, permutation, lam)

    def mix(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mix inputs or features, which are left as they are.

        Draws from torch's random numbers.

        Args:
            rows: ``(batch, ...)``, floating point.

        Returns:
            the mixtures ``(batch, ...)``, each row's partner ``(batch,)``, and its own share lam ``(batch,)``.
        """
        permutation = torch.randperm(len(rows), device=rows.device)
        alpha = torch.tensor(self.alpha, device=rows.device)
        drawn = torch.distributions.Beta(alpha, alpha).sample((len(rows),))
        lam = torch.where(torch.rand(len(rows), device=rows.device) < self.mix_share, drawn, 1)
        share = lam.to(rows.dtype).view(-1, *[1] * (rows.dim() - 1))
        return share * rows + (1 - share) * rows[permutation], permutation, lam

    def from_mixed(self, mixed_a: Tensor, b: Tensor, permutation: Tensor, lam: Tensor) -> Tensor:
        """Return the loss of rows that were mixed before, as inputs of their encoder for example.

        Args:
            mixed_a: ``(batch, dim)``.
            b: not mixed, ``(batch, dim)``.
            permutation: the partner of each row, ``(batch,)``.
            lam: the row's own share, ``(batch,)``.
        """
        check_paired(mixed_a=mixed_a, b=b)
        targets = Mixed(permutation, lam)
        forward, backward = two_way_info_nce(
            mixed_a,
            b,
            targets,
            targets,
            temperature=self.temperature,
            normalize_rows=False,
            skip_empty=False,
            block_size=self.block_size,
            gather=self.gather,
        )
        return (forward + backward) / 2

"""M3Co: contrastive learning between mixtures of one modality and unmixed rows of another."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.errors import InputError
from mmcl.objectives.kernel.inputs import check_paired
from mmcl.objectives.kernel.pairs import Mixed
from mmcl.objectives.kernel.two_way import two_way_info_nce
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, number_of


class M3CoLoss(Objective):
    """Contrast mixed rows of one modality with unmixed rows of another, with mixing coefficients as targets.

    With x~_i = lam_i x_i + (1 - lam_i) x_perm(i), targets P with P_ii = lam_i and P_i,perm(i) = 1 - lam_i, and C the
    cosines of mixed and unmixed rows / temperature::

        forward  = -1/n sum_ij P_ij   log softmax_j(C_i)_j
        backward = -1/n sum_ij P^T_ij log softmax_j(C^T_i)_j
        loss     = (forward + backward) / 2

    The transposed targets are not normalized again. lam_i ~ Beta(alpha, alpha) for a share of the rows, and 1 for the
    rest. This is the loss of one ordered pair of modalities. The paper adds the losses of its ordered pairs: mixed text
    against image, and mixed image against text.

    M3CoL (Kumar et al., arXiv 2409.17777), M3Co, with the normalization of the released code. Differs from that code: a
    row that is its own partner has target 1 instead of 1 - lam, and the unmixed side stays unmixed.

    Args:
        temperature: greater than 0.
        alpha: parameter of the Beta distribution, greater than 0.
        mix_share: probability that a row is mixed, in [0, 1].
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`; partners are rows of the same process.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; sides that are not paired; a
            coefficient outside [0, 1]; an invalid permutation.

    >>> swap, half = torch.tensor([1, 0]), torch.tensor([0.5, 0.5])
    >>> loss = M3CoLoss(temperature=1.0).from_mixed(torch.ones(2, 2), torch.eye(2), swap, half)
    >>> round(loss.item(), 4)  # all cosines are equal: log 2
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
                f"alpha is {alpha!r}, mix_share is {mix_share!r}: expected alpha > 0 and mix_share in [0, 1]"
            )
        self.alpha, self.mix_share = float(alpha), float(mix_share)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Mix the rows of ``a`` and return the loss against ``b``, ``(batch, dim)`` each."""
        check_paired(a=a, b=b)
        mixed, permutation, lam = self.mix(a)
        return self.from_mixed(mixed, b, permutation, lam)

    def mix(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return mixtures of inputs or features, drawn with torch's random generator.

        Args:
            rows: ``(batch, ...)``, floating point; not modified.

        Returns:
            The mixtures ``(batch, ...)``, the partner of each row ``(batch,)``, and its coefficient lam ``(batch,)``.
        """
        permutation = torch.randperm(len(rows), device=rows.device)
        alpha = torch.full((), self.alpha, device=rows.device)
        # The distribution's own checks would wait for the device.
        drawn = torch.distributions.Beta(alpha, alpha, validate_args=False).sample((len(rows),))
        lam = torch.where(torch.rand(len(rows), device=rows.device) < self.mix_share, drawn, 1)
        share = lam.to(rows.dtype).view(-1, *[1] * (rows.dim() - 1))
        return share * rows + (1 - share) * rows[permutation], permutation, lam

    def from_mixed(self, mixed_a: Tensor, b: Tensor, permutation: Tensor, lam: Tensor) -> Tensor:
        """Return the loss of rows that are mixed already, for example as inputs of their encoder.

        Args:
            mixed_a: mixed rows, ``(batch, dim)``.
            b: unmixed rows, ``(batch, dim)``.
            permutation: partner of each row, ``(batch,)``.
            lam: mixing coefficient of the row itself, ``(batch,)``.
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

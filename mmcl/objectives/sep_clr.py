"""SepCLR: common and salient representations, separated by contrast with background samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.numbers import NonNegative
from mmcl.errors import ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, check_paired, precise, refuse_overflow, stacked_views
from mmcl.objectives.kernel.labels import flags_of
from mmcl.objectives.kernel.logsumexp import pairwise_logsumexp
from mmcl.objectives.kernel.pairs import Identity
from mmcl.objectives.kernel.row_blocks import sum_of_blocks
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, positive, temperature_of, weight_of


class SepCLRLoss(Objective):
    """Separate what target samples share with background samples from what only they have.

    A common encoder gives c, of unit length, and a salient encoder gives s, of any length. Background samples have no
    salient factors: s~ is s, and 0 for background. With t the temperature, k(x, y) = exp(-|x - y|^2 / (2 t)), and views
    1 and 2::

        align(x, y) = mean |x - y|^2 / (2 t)        unif(x) = log mean_{i < j} k(x_i, x_j)
        common      = align(c1, c2) + unif(c1) + unif(c2)
        salient     = align(s1, s2) of target samples + unif(s~1) + unif(s~2)
        background  = 1/2 sum over views of align(0, s) of background samples
        joint       = 1/2 sum over views of mean_i log mean_j k(c_i, c_j) k(s~_i, s~_j)
        loss        = common + salient_weight salient + background_weight background + joint_weight joint

    ``joint`` is a negative joint entropy, which stands for a small mutual information of c and s. With all other
    weights 0, this is alignment and uniformity of Wang and Isola (arXiv 2005.10242) on c. A batch without target or
    without background samples has no such term.

    Louiset et al. 2024 (ICLR 2024, SepCLR), as in the released code. There, both weights are 1000 for CIFAR-MNIST and
    CelebA, (1, 10) for CheXpert and (1, 100) for ODIR.

    Args:
        temperature: t, greater than 0.
        salient_weight, background_weight, joint_weight: weights of the terms, 0 or greater.
        block_size, gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, LabelError, InputError, ConfigError: views that are not two or not paired, or not finite; a flag for
            each sample is missing; a negative weight.

    >>> common, salient = torch.eye(2).expand(2, 2, 2), torch.zeros(2, 2, 3)
    >>> loss = SepCLRLoss(salient_weight=0.0, joint_weight=0.0)(common, salient, torch.tensor([True, False]))
    >>> round(loss.item(), 4)  # the squared distance is 2, over 2 t = 1, for both views
    -4.0
    """

    takes = ("views", "salient", "is_target")

    def __init__(
        self,
        temperature: Temperature = 0.5,
        salient_weight: NonNegative = 1000.0,
        background_weight: NonNegative = 1000.0,
        joint_weight: NonNegative = 10.0,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        weights = {"salient": salient_weight, "background": background_weight, "joint": joint_weight}
        for name, value in weights.items():
            weight_of(f"{name}_weight", value)
        self.salient_weight, self.background_weight, self.joint_weight = weights.values()

    def forward(
        self, common: Tensor | Sequence[Tensor], salient: Tensor | Sequence[Tensor], is_target: Tensor
    ) -> Tensor:
        """Return the loss of a batch.

        Args:
            common: two views by the common encoder, ``(2, batch, dim)``.
            salient: the same views by the salient encoder, ``(2, batch, salient dim)``.
            is_target: which samples are targets, boolean ``(batch,)``; the others are background.
        """
        common, salient = stacked_views(common), stacked_views(salient)
        if len(common) != 2 or common.shape[:2] != salient.shape[:2]:
            raise ShapeError(
                f"common has shape {tuple(common.shape)} and salient {tuple(salient.shape)}: expected 2 views each, of "
                "the same batch"
            )
        flags = flags_of("is_target", is_target, common.shape[1], common.device)
        with torch.autocast(common.device.type, enabled=False):
            c, s = precise(common, salient)
            c = unit(c.flatten(0, 1)).view(c.shape)
            target = flags.to(s.dtype)
            masked = s * target[:, None]
            processes = Processes.of(target) if self.gather else None
            double = 2 * temperature_of(self.temperature)
            targets, others = (self._total(each.sum(), processes) for each in (target, 1 - target))
            samples = processes.total if processes else len(target)
            loss = (c[0] - c[1]).square().sum() / double / max(samples, 1) + self._uniformity(c, processes)
            between = (masked[0] - masked[1]).square().sum() / double / targets.clamp(min=1)
            loss = loss + self.salient_weight * (between + self._uniformity(masked, processes))
            alone = (s * (1 - target)[:, None]).square().sum() / double / others.clamp(min=1)
            loss = loss + self.background_weight * alone / 2
            joint = sum(self._joint(torch.cat(both, 1), processes) for both in zip(c, masked, strict=True))
            loss = loss + self.joint_weight * joint / 2
            return refuse_overflow(loss, "salient embeddings")

    @staticmethod
    def _total(value: Tensor, processes: Processes | None) -> Tensor:
        return processes.stack(value).sum() if processes else value

    def _uniformity(self, views: Tensor, processes: Processes | None) -> Tensor:
        """Return this process's share of the sum over views of their uniformity."""
        samples = processes.total if processes else views.shape[1]
        if samples < 2:
            return 0 * views.sum()
        sums = [gaussian_log_sums(view, self.temperature, False, self.block_size, processes) for view in views]
        if processes:  # each process adds up all rows
            sums = [processes.gather(each) for each in sums]
        share = 1 / len(processes.sizes) if processes else 1
        return share * torch.stack([each.logsumexp(0) for each in sums]).sub(math.log(samples * (samples - 1))).sum()

    def _joint(self, rows: Tensor, processes: Processes | None) -> Tensor:
        """Return this process's share of the mean log-density; the product of two kernels is that of both spaces."""
        samples = processes.total if processes else len(rows)
        sums = gaussian_log_sums(rows, self.temperature, True, self.block_size, processes)
        return (sums - math.log(max(samples, 1))).sum() / max(samples, 1)


@takes_tensors
def gaussian_log_sums(
    features: Tensor,
    temperature: Temperature = 0.5,
    include_self: bool = False,
    block_size: int | None = None,
    processes: Processes | None = None,
) -> Tensor:
    """Return ``log sum_j exp(-|x_i - x_j|^2 / (2 temperature))`` of each row, ``(batch,)``.

    No matrix of all pairs is stored: the exponent is an inner product of rows with two more dimensions.

    Args:
        features: x, ``(batch, dim)``.
        temperature: greater than 0.
        include_self: count j = i.
        block_size: as in :func:`~mmcl.objectives.weighted_info_nce`.
        processes: distribution of the rows; None for one process.

    Raises:
        ShapeError, InputError: features that are not ``(batch, dim)`` or not finite, or an invalid temperature.

    >>> gaussian_log_sums(torch.tensor([[0.0], [2.0]]), temperature=2.0).round(decimals=4)  # -4 / 4
    tensor([-1., -1.])
    """
    check_features(features=features)
    (rows,) = precise(features)
    scale = 1 / temperature_of(temperature)
    scale = (scale.to(rows) if isinstance(scale, Tensor) else scale) ** 0.5
    rows = (rows - rows.detach().mean(0) if processes is None else rows) * scale  # closer to 0, rounding is smaller
    halves = -rows.square().sum(1, keepdim=True) / 2
    queries, keys = torch.cat([rows, halves, torch.ones_like(halves)], 1), torch.cat([rows, 0 * halves + 1, halves], 1)
    compared = None if include_self else Identity(len(rows)).complement()
    if processes:
        keys, compared = processes.gather(keys), compared and compared.gathered(processes)
    return pairwise_logsumexp(queries, keys, compared, block_size=block_size)[0]


@takes_tensors
def attribute_alignment(
    features: Tensor, attributes: Tensor, bandwidth: float = 0.05, *, block_size: int | None = None
) -> Tensor:
    """Return the loss that makes each dimension follow one attribute, for SepCLR with known salient attributes.

    ``mean over i < j and over dimensions of exp(-|y_i - y_j|^2 / bandwidth) |x_i - x_j|^2``, with x a dimension of the
    features and y its attribute. Samples of a similar attribute should have a similar feature.

    Louiset et al. 2024 (ICLR 2024, SepCLR), as in the released code: bandwidth 2 * 0.025 for continuous attributes and
    1e-5 for discrete ones, and weight 100 for each dimension.

    Args:
        features: ``(batch, dim)``.
        attributes: one attribute for each dimension, ``(batch, dim)``.
        bandwidth: greater than 0.
        block_size: number of rows per block; None for automatic.

    Raises:
        ShapeError, InputError: features and attributes that are not paired or not finite, or an invalid bandwidth.

    >>> features, attributes = torch.tensor([[0.0], [2.0], [9.0]]), torch.tensor([[1.0], [1.0], [100.0]])
    >>> round(attribute_alignment(features, attributes).item(), 4)  # 4 / 3
    1.3333
    """
    check_paired(features=features, attributes=attributes)
    positive("bandwidth", bandwidth)
    rows, values = precise(features, attributes.detach())

    def block_loss(start: int, rows: Tensor, values: Tensor, keys: Tensor, key_values: Tensor) -> Tensor:
        weights = (-(values[:, None] - key_values).square() / bandwidth).exp()
        return (weights * (rows[:, None] - keys).square()).sum()

    total = sum_of_blocks(block_loss, [rows, values], [rows, values], block_size)
    return total / max(len(rows) * (len(rows) - 1) * rows.shape[1], 1)

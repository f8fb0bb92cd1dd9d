"""ConR: contrast for regression, which pushes samples apart whose predictions are close but whose targets are not."""

from __future__ import annotations

import torch
from torch import Tensor

from mmcl.config.numbers import NonNegative
from mmcl.errors import InputError
from mmcl.objectives.kernel.factors import similarity_factors
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, checks_values, poisoned, precise
from mmcl.objectives.kernel.labels import targets_of
from mmcl.objectives.kernel.row_blocks import masked_logsumexp, own_columns, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, weight_of


class ConRLoss(Objective):
    """Contrast features of a regression, beside its loss.

    With s_ij = <z_i, z_j> / temperature, y the targets, y' the predictions without gradient, window w and weights q::

        P_i    = { j != i : |y_i - y_j| <= w }
        N_i    = { j : |y_i - y_j| > w and |y'_i - y'_j| <= w }
        S_ij   = q_i exp(distance |y_i - y_j|)
        D_i    = sum_{p in P_i} exp(s_ip) + sum_{n in N_i} S_in exp(s_in)
        loss_i = -1/|P_i| sum_{p in P_i} log( exp(s_ip) / D_i )

    The result is the mean over samples of q_i loss_i. A sample without positives or without negatives counts 0, so that
    constant targets give 0. If predictions are equal, ``distance`` is 0 and targets are class numbers, this is SupCon.

    Keramati et al. 2024 (arXiv 2309.06651, ConR). The released code adds 1 to the denominator for each sample that is
    not a positive, the sample itself included (``as_released``), because it masks similarities before the exponential.
    In the paper the loss has weight 4 beside the L1 loss on AgeDB.

    Args:
        temperature: greater than 0; 0.07 in the released code.
        window: w, 0 or greater; 1 year for ages.
        distance: growth of a negative's weight with the distance of targets, 0 or greater; 0.01 in the paper for ages.
        as_released: add the constant of the released code to the denominator.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; targets, predictions or
            weights that are not one finite number per row; a negative setting.

    >>> features, targets = torch.eye(2)[[0, 0, 1]], torch.tensor([5.0, 5.0, 9.0])
    >>> loss = ConRLoss(temperature=1.0, distance=0.0)(features, targets, torch.zeros(3))
    >>> round(loss.item(), 4)  # 2/3 (log(e + 1) - 1)
    0.2088
    """

    takes = ("features", "targets", "predictions")

    def __init__(
        self,
        temperature: Temperature = 0.07,
        window: NonNegative = 1.0,
        distance: NonNegative = 0.01,
        as_released: bool = False,
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        for name, value in (("window", window), ("distance", distance)):
            weight_of(name, value)
        self.window, self.distance, self.as_released = window, distance, as_released

    def forward(self, features: Tensor, targets: Tensor, predictions: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the loss of a batch.

        Args:
            features: ``(batch, dim)``, such as those of both views, view after view.
            targets: the number to predict of each row, ``(batch,)``.
            predictions: predicted numbers, ``(batch,)``; they get no gradient.
            weights: q, such as the inverse density of targets, 0 or greater, ``(batch,)``; None for 1.
        """
        check_features(features=features)
        tile_size(features.device, self.block_size)
        count, device = len(features), features.device
        targets, predictions = (
            targets_of(name, each, count, device) for name, each in (("targets", targets), ("predictions", predictions))
        )
        weights = torch.ones_like(targets) if weights is None else targets_of("weights", weights, count, device)
        if checks_values(weights) and bool((weights < 0).any()):
            raise InputError(f"weights holds {weights.min().item():g}, expected 0 or more: pass inverse densities")
        valid = targets.isfinite().all() & predictions.isfinite().all() & (weights >= 0).all()
        with torch.autocast(device.type, enabled=False):
            (rows,) = precise(features)
            queries, keys, _ = similarity_factors(rows, rows, self.temperature)
            key_targets, key_predictions, offset = targets, predictions, 0
            if self.gather:
                processes = Processes.of(keys)
                keys, offset = processes.gather(keys), processes.own.start
                key_targets, key_predictions = processes.gather(targets), processes.gather(predictions)
            total = sum_of_blocks(
                lambda start, *block: self._block_loss(offset + start, *block),
                [queries, targets, predictions, weights],
                [keys, key_targets, key_predictions],
                self.block_size,
            )
            return poisoned(total, valid) / max(len(keys), 1)

    def _block_loss(
        self,
        offset: int,
        queries: Tensor,
        targets: Tensor,
        predictions: Tensor,
        weights: Tensor,
        keys: Tensor,
        key_targets: Tensor,
        key_predictions: Tensor,
    ) -> Tensor:
        similarities = queries @ keys.T
        kind = similarities.dtype
        own = torch.zeros_like(similarities, dtype=torch.bool).scatter(1, own_columns(similarities, offset), True)
        apart = (targets[:, None] - key_targets).abs()
        positives = (apart <= self.window) & ~own
        negatives = (apart > self.window) & ((predictions[:, None] - key_predictions).abs() <= self.window)
        logs = weights.clamp(min=torch.finfo(weights.dtype).tiny).log()[:, None] + self.distance * apart
        sums = masked_logsumexp(similarities, positives)
        sums = torch.logaddexp(sums, masked_logsumexp(similarities + logs.to(kind), negatives))
        if self.as_released:
            sums = torch.logaddexp(sums, (~positives).sum(1).to(kind).log())
        counts = positives.sum(1)
        aligned = (similarities * positives).sum(1) / counts.clamp(min=1)
        return torch.where((counts > 0) & negatives.any(1), weights.to(kind) * (sums - aligned), 0).sum()

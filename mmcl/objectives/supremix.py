"""SupReMix: contrast for regression with mixtures of a sample and others as negatives, and of others as positives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmcl.config.numbers import Positive
from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, checks_values, poisoned, precise
from mmcl.objectives.kernel.labels import targets_of
from mmcl.objectives.kernel.row_blocks import masked_logsumexp, sum_of_blocks
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import Temperature, positive, temperature_of

Weighting = Literal["distance", "inverse", "none"]
RowDivisor = Literal["positives", "positives_and_1"]

_PAIRS = 2**22  # pairs of keys in memory at a time
_ANCHORS = 16  # anchors per block on the CPU; few have few keys within the window


class SupReMixLoss(Objective):
    """Contrast features of a regression with mixtures of real samples.

    With z the unit-length features and y the targets, anchor i has as keys, besides all other samples,

    * mixed negatives ``lam_i z_i + (1 - lam_i) z_k`` of each k with y_k != y_i, with lam_i ~ Beta(own, other)
    * mixed positives ``c z_j + (1 - c) z_k`` of all y_j < y_i < y_k within the window, whose mixed target is y_i:
      ``c = (y_k - y_i) / (y_k - y_j)``, ``y_i - y_j < window`` and ``y_k - y_i < window``

    Positives P_i are the samples of equal target and the mixed positives. With s the products with z_i divided by the
    temperature, and y_m the mixed target of a key::

        loss_i = -1/|P_i| sum_{p in P_i} [ s_ip - log sum_m w_im exp(s_im) ],    w_im = |y_i - y_m| + 1

    The result is the mean over samples that have a positive, 0 if there are none. Mixtures are constants and not scaled
    to unit length. Without mixtures and weights this is SupCon. A batch of n rows costs up to O(n^3) time for mixed
    positives, on the CPU less with a small window; memory is bounded.

    Wu et al. 2023 (arXiv 2309.16633, SupReMix). Differs from the paper: one coefficient for each anchor; mean over
    samples with a positive. The released code shifts logits of samples and of mixtures by different maxima, which
    changes their relative weight; that is not reproduced. Its text version divides by |P_i| + 1
    (``divisor="positives_and_1"``), its image version by |P_i|. ``weighting="inverse"`` is its option 1 / w.

    Args:
        temperature: greater than 0; 0.1 and 0.3 in the released code.
        window: largest distance of targets for mixed positives, greater than 0; 5 for ages, 1 for similarity of texts.
        own, other: parameters of the Beta distribution; 2 and 8 give the anchor a share of 0.2 on average.
        mixed_negatives, mixed_positives: use these mixtures.
        weighting: weight of a key in the denominator: ``"distance"`` w, ``"inverse"`` 1 / w, or ``"none"``.
        divisor: divide each sum by the number of ``"positives"``, or by 1 more.
        block_size: number of anchors per block; None for automatic.
        gather: as in :func:`~mmcl.objectives.weighted_info_nce`.

    Raises:
        ShapeError, InputError, ConfigError: as :func:`~mmcl.objectives.weighted_info_nce`; targets that are not one
            finite number per row; settings outside their range.

    >>> features, targets = torch.eye(2)[[0, 0, 1]], torch.tensor([5.0, 5.0, 7.0])
    >>> loss = SupReMixLoss(temperature=1.0, mixed_negatives=False)(features, targets)
    >>> round(loss.item(), 4)  # log(e + 3) - 1
    0.7437
    """

    takes = ("features", "targets")

    def __init__(
        self,
        temperature: Temperature = 0.1,
        window: Positive = 5.0,
        own: Positive = 2.0,
        other: Positive = 8.0,
        mixed_negatives: bool = True,
        mixed_positives: bool = True,
        weighting: Weighting = "distance",
        divisor: RowDivisor = "positives",
        *,
        block_size: int | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__(temperature, block_size=block_size, gather=gather)
        for name, value in (("window", window), ("own", own), ("other", other)):
            positive(name, value)
        if weighting not in ("distance", "inverse", "none"):
            raise ConfigError(f"weighting is {weighting!r}, expected 'distance', 'inverse' or 'none'")
        if divisor not in ("positives", "positives_and_1"):
            raise ConfigError(f"divisor is {divisor!r}, expected 'positives' or 'positives_and_1'")
        self.window, self.own, self.other = window, own, other
        self.mixed_negatives, self.mixed_positives = mixed_negatives, mixed_positives
        self.weighting, self.divisor = weighting, divisor

    def forward(self, features: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of features ``(batch, dim)`` and their targets ``(batch,)``, with random mixtures."""
        like = features.new_empty((), dtype=torch.float32)
        beta = torch.distributions.Beta(
            torch.full_like(like, self.own), torch.full_like(like, self.other), validate_args=False
        )
        return self.of_mixtures(features, targets, beta.sample((len(features),)))

    def of_mixtures(self, features: Tensor, targets: Tensor, lam: Tensor) -> Tensor:
        """Return the loss with given coefficients of mixed negatives.

        Args:
            features: ``(batch, dim)``.
            targets: the number to predict of each row, ``(batch,)``.
            lam: share of the anchor in its mixed negatives, in [0, 1], ``(batch,)``.
        """
        check_features(features=features)
        targets = targets_of("targets", targets, len(features), features.device)
        lam, valid = _shares(lam, len(features))
        valid = valid & targets.isfinite().all()
        size = tile_size(features.device, self.block_size)
        with torch.autocast(features.device.type, enabled=False):
            (rows,) = precise(features)
            queries, keys = unit(rows, 1 / temperature_of(self.temperature)), unit(rows)
            key_targets, offset = targets, 0
            processes = Processes.of(keys) if self.gather else None
            if processes:
                keys, key_targets, offset = processes.gather(keys), processes.gather(targets), processes.own.start
            select = checks_values(targets)  # the same when the backward pass computes a block again
            if self.mixed_positives:
                size = max(1, min(size, self._anchors(targets, key_targets, select)))
            order = targets.argsort()  # anchors of a block have similar targets, and keys within the window in common
            sums = sum_of_blocks(
                lambda start, *block: self._block_loss(select, *block),
                [queries[order], targets[order], lam.to(rows.dtype)[order], order + offset],
                [keys, key_targets],
                size,
            )
            total, anchors = sums.expand(2).unbind()
            anchors = processes.stack(anchors.detach()).sum() if processes else anchors.detach()
            return poisoned(total, valid) / anchors.clamp(min=1)

    def _anchors(self, targets: Tensor, key_targets: Tensor, select: bool) -> int:
        """Return the number of anchors whose pairs of keys fit into memory at a time."""
        if not select or not len(targets):
            return _PAIRS // max(len(key_targets), 1) ** 2
        ordered = key_targets.sort().values
        near = torch.searchsorted(ordered, targets + self.window) - torch.searchsorted(ordered, targets - self.window)
        return min(_ANCHORS, _PAIRS // max(2 * int(near.amax()), 1) ** 2)  # 2: anchors of a block differ

    def _block_loss(
        self,
        select: bool,
        queries: Tensor,
        targets: Tensor,
        lam: Tensor,
        places: Tensor,
        keys: Tensor,
        key_targets: Tensor,
    ) -> Tensor:
        """Return the sum of losses and the number of anchors, ``(2,)``; ``places`` are the rows of anchors in keys."""
        similarities, fixed = queries @ keys.T, queries @ keys.detach().T
        columns = places[:, None]
        own = torch.zeros_like(similarities, dtype=torch.bool).scatter(1, columns, True)
        apart = (targets[:, None] - key_targets).to(similarities.dtype)
        sums = masked_logsumexp(similarities + self._log_weights(apart), ~own)
        counted = len(keys) > 1
        if self.mixed_negatives:
            mixed = lam[:, None] * fixed.gather(1, columns) + (1 - lam[:, None]) * fixed
            mixed = mixed + self._log_weights((1 - lam[:, None]) * apart)
            others = apart != 0
            negatives = torch.logaddexp(sums, masked_logsumexp(mixed, others))
            sums = torch.where(others.any(1), negatives, sums)
        positives = (apart == 0) & ~own
        counts, aligned = positives.sum(1), (similarities * positives).sum(1)
        if self.mixed_positives:
            logs, more, total = self._mixed_positives(fixed, apart, select)
            sums = torch.where(more > 0, torch.logaddexp(sums, logs), sums)
            counts, aligned = counts + more, aligned + total
        has, added = (counts > 0) & counted, int(self.divisor == "positives_and_1")
        losses = torch.where(has, (counts * sums - aligned) / (counts + added).clamp(min=1), 0)
        return torch.stack([losses.sum(), has.sum().to(losses.dtype)])

    def _mixed_positives(self, fixed: Tensor, apart: Tensor, select: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return logsumexp, number and sum of the similarities of each anchor's mixed positives, ``(rows,)`` each."""
        if select:  # on the CPU; on a GPU it would wait
            near = ((apart != 0) & (apart.abs() < self.window)).any(0).nonzero()[:, 0]
            fixed, apart = fixed.index_select(1, near), apart.index_select(1, near)
        below, above = (apart > 0) & (apart < self.window), (apart < 0) & (apart > -self.window)
        chosen = below[:, :, None] & above[:, None, :]
        span = torch.where(chosen, apart[:, :, None] - apart[:, None, :], 1)  # y_k - y_j
        share = -apart[:, None, :] / span
        mixed = share * fixed[:, :, None] + (1 - share) * fixed[:, None, :]
        mixed, chosen = mixed.flatten(1), chosen.flatten(1)
        return masked_logsumexp(mixed, chosen), chosen.sum(1), (mixed * chosen).sum(1)

    def _log_weights(self, apart: Tensor) -> Tensor:
        if self.weighting == "none":
            return torch.zeros_like(apart)
        logs = apart.abs().log1p()
        return logs if self.weighting == "distance" else -logs


def _shares(lam: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return coefficients within [0, 1], and whether all were."""
    if tuple(lam.shape) != (count,):
        raise ShapeError(f"lam has shape {tuple(lam.shape)}, expected one coefficient per row, ({count},)")
    valid = ((lam >= 0) & (lam <= 1)).all()
    if checks_values(lam) and not bool(valid):
        raise InputError(f"lam has values from {lam.min().item():g} to {lam.max().item():g}, expected [0, 1]")
    return lam.detach().clamp(0, 1), valid

"""ElasticWeights: a plugin that keeps parameters of high Fisher information near their earlier values (EWC)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmcl.config.numbers import Count, NonNegative, Share
from mmcl.errors import ConfigError
from mmcl.strategies.importance import ImportancePenalty, mean_over_samples, require_classifier

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate

FisherLabels = Literal["data", "model"]


class ElasticWeights(ImportancePenalty):
    """Penalize changes of parameters by their Fisher information (EWC, Kirkpatrick et al. 2017).

    ``loss = cross-entropy + weight / 2 * sum_k sum_i F_ki (theta_i - theta_ki)^2``, equation 3 of arXiv 1612.00796,
    summed over earlier experiences k. ``theta_k`` are the parameters after experience k. ``F_ki`` is the mean over its
    samples of ``(d log p(y | x) / d theta_i)^2``, each sample alone. The sum over k is kept in closed form, so memory
    does not grow with the number of experiences.

    With ``online``, there is one penalty, around the last parameters, and ``F <- decay * F + F_k`` (online EWC,
    Schwarz et al. 2018, arXiv 1805.06370).

    Differs from the paper: y is the label of the sample by default, the empirical Fisher information. With
    ``labels="model"``, y is drawn from the model's prediction, as in the definition of the Fisher information.
    Avalanche's ``EWCPlugin`` squares the mean gradient of a batch instead, has no factor 1/2, and needs batches as
    tuples.

    Args:
        weight: weight of the penalty, lambda in the paper; 0 turns it off.
        online: keep one penalty around the last parameters.
        decay: factor of earlier Fisher information at each experience, gamma in the paper; only if ``online``.
        labels: labels that the Fisher information is measured with: ``"data"`` or ``"model"``.
        samples: samples of an experience to measure with, evenly spaced; None for all. Each takes one backward
            pass.

    Raises:
        ConfigError: a setting is out of range, ``decay`` is set without ``online``, or the model has a decoder.
    """

    def __init__(
        self,
        weight: NonNegative = 1000.0,
        *,
        online: bool = False,
        decay: Share = 1.0,
        labels: FisherLabels = "data",
        samples: Count | None = None,
    ) -> None:
        if weight < 0 or not 0 <= decay <= 1 or (samples is not None and samples < 1):
            raise ConfigError(
                f"weight is {weight}, decay {decay}, samples {samples}: expected weight >= 0, "
                "decay of 0 to 1, and samples >= 1 or None"
            )
        if labels not in ("data", "model"):
            raise ConfigError(f"labels is {labels!r}, expected 'data' or 'model'")
        if decay < 1 and not online:
            raise ConfigError(f"decay is {decay}, but online is False: set online to true, or decay to 1")
        super().__init__("ewc", weight / 2, decay)
        self.online, self.labels, self.samples = online, labels, samples

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model is a classifier."""
        require_classifier(strategy.model, "ewc")

    def measure(self, strategy: MMCLTemplate) -> dict[str, Tensor]:
        """Return the diagonal of the Fisher information, by name of the parameter."""

        def negative_log_likelihood(logits: Tensor, label: Tensor) -> Tensor:
            if self.labels == "model":
                label = torch.multinomial(logits.detach().softmax(1), 1).flatten()
            return cross_entropy(logits, label)

        return mean_over_samples(strategy, negative_log_likelihood, torch.square, self.samples)

    def combine(self, importance: Tensor, anchor: Tensor, measured: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the penalty of this and all earlier experiences: one quadratic function, up to an offset."""
        if self.online:
            return super().combine(importance, anchor, measured, values)
        total = importance + measured
        share = torch.where(total > 0, measured / total, 1.0)  # of the experience that ends
        change = values - anchor
        self.offset = self.offset + (importance * share * change.square()).sum()
        return total, anchor + share * change

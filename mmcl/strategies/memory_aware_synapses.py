"""MemoryAwareSynapses: a plugin that keeps parameters near their values if the model's output depends on them (MAS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from mmcl.config.numbers import Count, NonNegative, Share
from mmcl.errors import ConfigError
from mmcl.strategies.importance import ImportancePenalty, mean_over_samples, require_classifier

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class MemoryAwareSynapses(ImportancePenalty):
    """Penalize changes of parameters that the logits are sensitive to (MAS, Aljundi et al. 2018).

    ``loss = cross-entropy + weight * sum_i O_i (theta_i - anchor_i)^2``, equation 3 of arXiv 1711.09601. ``O_i`` is the
    mean over samples of ``|d ||logits||^2 / d theta_i|``, equation 2 with the squared norm of the output, summed over
    experiences. It needs no labels. ``anchor`` are the parameters after the last experience.

    Differs from the paper: logits of classes that have not arrived are left out. The local variant is not included.
    Avalanche's ``MASPlugin`` takes the absolute value of the mean gradient of a batch in training mode instead,
    averages experiences with a factor, and needs batches as tuples.

    Args:
        weight: weight of the penalty, lambda in the paper; 0 turns it off.
        decay: factor of earlier importances at each experience; 1 is the paper's sum.
        samples: samples of an experience to measure with, evenly spaced; None for all. Each takes one backward pass.

    Raises:
        ConfigError: a setting is out of range, or the model has a decoder.
    """

    def __init__(self, weight: NonNegative = 1.0, *, decay: Share = 1.0, samples: Count | None = None) -> None:
        if weight < 0 or not 0 <= decay <= 1 or (samples is not None and samples < 1):
            raise ConfigError(
                f"weight is {weight}, decay {decay}, samples {samples}: expected weight >= 0, decay of 0 to 1, and "
                "samples >= 1 or None"
            )
        super().__init__("mas", weight, decay)
        self.samples = samples

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model is a classifier."""
        require_classifier(strategy.model, "mas")

    def measure(self, strategy: MMCLTemplate) -> dict[str, Tensor]:
        """Return the mean sensitivity of the squared norm of the logits, by name of the parameter."""
        return mean_over_samples(strategy, _squared_norm, Tensor.abs, self.samples)


def _squared_norm(logits: Tensor, label: Tensor) -> Tensor:
    """Return the squared norm of the logits of classes that have arrived; the others are minus infinity."""
    return logits.masked_fill(logits.isneginf(), 0.0).square().sum()

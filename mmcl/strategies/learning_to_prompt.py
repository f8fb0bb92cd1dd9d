"""LearningToPrompt: a plugin that trains a pool of prompts and their keys, on the current classes (L2P)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mmcl.config.numbers import NonNegative
from mmcl.encoders.prompts import PromptedEncoder
from mmcl.errors import ConfigError
from mmcl.strategies.asymmetric_cross_entropy import AsymmetricCrossEntropy

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class LearningToPrompt(AsymmetricCrossEntropy):
    """Pull the keys of chosen prompts to their queries, and compare samples with current classes only.

    ``loss = cross-entropy + key_weight * mean over the batch of sum_i (1 - cos(q(x), k_i))`` over the keys k_i of the
    prompts of x, equation 5 of L2P, Wang et al. 2022, arXiv 2112.08654. The logits of classes of earlier experiences
    are minus infinity in training, so they are not pushed down. The model needs an encoder with prompts, see
    :class:`~mmcl.encoders.prompts.PromptedEncoder`.

    Differs from the paper: the loop's optimizer, epochs and schedule.

    Args:
        key_weight: weight of the distance of keys and queries.
        classes: classes in the cross-entropy, those of the experience (``"current"``) as in the paper, or all so far
            (``"seen"``).

    Raises:
        ConfigError: ``classes`` is unknown; or, when training begins, the encoder has no prompts.
    """

    def __init__(self, key_weight: NonNegative = 0.5, classes: Literal["current", "seen"] = "current") -> None:
        super().__init__("experience")
        if classes not in ("current", "seen"):
            raise ConfigError(f"classes is '{classes}', expected current or seen")
        self.key_weight, self.classes = key_weight, classes

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the encoder has prompts."""
        super().before_training(strategy)
        if not isinstance(getattr(strategy.model, "encoder", None), PromptedEncoder):
            raise ConfigError(
                "l2p needs an encoder with prompts: set encoder.prompts.size=10, or pass prompts={'size': 10} to "
                "build_encoder"
            )

    def after_forward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Set the logits of classes of earlier experiences to minus infinity."""
        if self.classes == "current":
            super().after_forward(strategy)

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distance of keys and queries."""
        strategy.add_loss("keys", strategy.model.encoder.key_distance(), self.key_weight)

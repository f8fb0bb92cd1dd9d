"""LearningToPrompt: a plugin that trains a pool of prompts and their keys, on the current classes (L2P)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from mmcl.config.numbers import NonNegative
from mmcl.encoders.prompts import PromptedEncoder
from mmcl.errors import ConfigError
from mmcl.strategies.asymmetric_cross_entropy import AsymmetricCrossEntropy
from mmcl.strategies.process_sums import sum_over_processes

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class LearningToPrompt(AsymmetricCrossEntropy):
    """Pull the keys of chosen prompts to their queries, and compare samples with current classes only.

    ``loss = cross-entropy + key_weight * mean over the batch of sum_i (1 - cos(q(x), k_i))`` over the keys k_i of the
    prompts of x, equation 5 of L2P, Wang et al. 2022, arXiv 2112.08654. The logits of classes of earlier experiences
    are minus infinity in training, so they are not pushed down. The model needs an encoder with prompts, see
    :class:`~mmcl.encoders.prompts.PromptedEncoder`.

    With ``diversify``, a sample gets the prompts with the lowest ``(1 - cos(q(x), k_i)) h_i`` in training, equation 4,
    where h_i is the share of prompt i in all choices of earlier experiences. An experience thus takes prompts that
    earlier ones used little. In evaluation, h has no part. The paper does so for data of very different tasks only.

    Differs from the paper: the loop's optimizer, epochs and schedule. Counts of choices start at 1, so the distance
    decides among prompts that were never chosen.

    Args:
        key_weight: weight of the distance of keys and queries.
        classes: classes in the cross-entropy, those of the experience (``"current"``) as in the paper, or all so far
            (``"seen"``).
        diversify: prefer prompts that earlier experiences used little.

    Attributes:
        counts: how often each prompt was chosen, plus 1, ``(size,)``.
        frequencies: shares of the counts at the end of the previous experience, ``(size,)``.

    Raises:
        ConfigError: ``classes`` is unknown; or, when training begins, the encoder has no prompts.
    """

    counts: Tensor
    frequencies: Tensor

    def __init__(
        self,
        key_weight: NonNegative = 0.5,
        classes: Literal["current", "seen"] = "current",
        *,
        diversify: bool = False,
    ) -> None:
        super().__init__("experience")
        if classes not in ("current", "seen"):
            raise ConfigError(f"classes is '{classes}', expected current or seen")
        self.key_weight, self.classes, self.diversify = key_weight, classes, diversify
        self.counts, self.frequencies = torch.empty(0, dtype=torch.long), torch.empty(0)
        self._of_epoch = self.counts  # choices of this process in the current epoch

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the encoder has prompts."""
        super().before_training(strategy)
        if not isinstance(getattr(strategy.model, "encoder", None), PromptedEncoder):
            raise ConfigError(
                "l2p needs an encoder with prompts: set encoder.prompts.size=10, or pass prompts={'size': 10} to "
                "build_encoder"
            )
        if not len(self.counts):
            self.counts = torch.ones(strategy.model.encoder.settings.size, dtype=torch.long)
            self.frequencies = self.counts / len(self.counts)

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Set the frequencies of earlier experiences."""
        super().before_training_exp(strategy)
        self._of_epoch = torch.zeros_like(self.counts, device=strategy.device)
        if self.diversify:
            strategy.model.encoder.frequencies = self.frequencies.to(strategy.device)

    def after_forward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Set the logits of classes of earlier experiences to minus infinity."""
        if self.classes == "current":
            super().after_forward(strategy)

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distance of keys and queries, and count the prompts of the batch."""
        encoder = strategy.model.encoder
        strategy.add_loss("keys", encoder.key_distance(), self.key_weight)
        if self.diversify:
            chosen = encoder.chosen.flatten()
            self._of_epoch.index_add_(0, chosen, torch.ones_like(chosen))

    def after_training_epoch(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add up the choices of all processes."""
        if self.diversify:
            sum_over_processes([self._of_epoch], "choices of prompts")
            self.counts = self.counts + self._of_epoch.cpu()
            self._of_epoch.zero_()

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Compute the frequencies for the next experience."""
        self.frequencies = self.counts / self.counts.sum()
        strategy.model.encoder.frequencies = None

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any] | None:
        """Return counts and frequencies of prompts; None without ``diversify``."""
        return {"counts": self.counts, "frequencies": self.frequencies} if self.diversify else None

    def load_state_dict(self, state: dict[str, Any] | None, strategy: MMCLTemplate) -> None:
        """Restore counts and frequencies."""
        if state is not None:
            self.counts, self.frequencies = state["counts"].cpu(), state["frequencies"].cpu()

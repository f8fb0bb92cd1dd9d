"""Core-tuning: a plugin for fine-tuning with mixtures of hard pairs and a contrast that focuses on hard positives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from mmcl import distributed
from mmcl.config.numbers import Count, NonNegative, Positive, Probability
from mmcl.errors import ConfigError
from mmcl.files.loading import load_state
from mmcl.objectives.core_tuning import CoreTuningLoss, Mixtures, hard_mixtures
from mmcl.strategies.head_correction import linear_head

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class CoreTuning(SupervisedPlugin):
    """Add mixtures of hard pairs to the cross-entropy, and a focal contrast of samples and mixtures.

    With embeddings f, their :func:`~mmcl.objectives.hard_mixtures` m with soft labels, and a contrast head h::

        loss = CE(f) + 2 CE(m) + 3 weight CoreTuningLoss(h([f, m]))

    CE is a mean over samples, so that the loss is three times that of Zhang et al. 2021 (arXiv 2102.06605,
    Core-tuning): a batch has two mixtures for each sample. The contrast head is Linear, ReLU, Linear, and is trained
    with the model. Differs from the paper: classes that have not arrived take no part in the cross-entropy.

    Args:
        weight: weight of the contrast; 0.1 in the paper for CIFAR-10. 0 turns it off.
        temperature: temperature of the contrast.
        alpha: coefficients of mixtures are drawn from Beta(alpha, alpha).
        lowest: smallest coefficient of the other sample in hard negatives.
        projection: output dimension of the contrast head.

    Raises:
        ConfigError: a setting is out of range; or, when training begins, the model's classifier is not a linear layer.

    >>> CoreTuning().contrast.temperature
    0.07
    """

    def __init__(
        self,
        weight: NonNegative = 0.1,
        temperature: Positive = 0.07,
        alpha: Positive = 1.0,
        lowest: Probability = 0.8,
        projection: Count = 256,
    ) -> None:
        super().__init__()
        if weight < 0 or min(temperature, alpha) <= 0 or not 0 <= lowest <= 1 or projection < 1:
            raise ConfigError(
                f"weight is {weight}, temperature {temperature}, alpha {alpha}, lowest {lowest}, projection "
                f"{projection}: expected weight >= 0, temperature and alpha > 0, lowest in [0, 1], projection >= 1"
            )
        self.weight, self.alpha, self.lowest, self.projection = weight, alpha, lowest, projection
        self.contrast = CoreTuningLoss(temperature)
        self.head: nn.Module | None = None

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the contrast head; the loop adds them to the optimizer."""
        if self.head is not None:
            yield from self.head.parameters()

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Build the contrast head for the model's embeddings."""
        self._build(strategy)

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the cross-entropy of mixtures, and the contrast."""
        logits, embedding = strategy.mb_output, strategy.output.embedding
        mixed = hard_mixtures(embedding.float(), strategy.mb_y, logits.shape[1], alpha=self.alpha, lowest=self.lowest)
        own = len(embedding)
        strategy.add_loss("mixtures", self._cross_entropy(strategy, mixed, own), 2.0)
        if self.weight:
            contrast = self.contrast(self._build(strategy)(mixed.features), mixed.groups)
            strategy.add_loss("core_tuning", contrast, 3 * self.weight)

    @staticmethod
    def _cross_entropy(strategy: MMCLTemplate, mixed: Mixtures, own: int) -> Tensor:
        logs = linear_head(strategy.model)(mixed.features[own:]).log_softmax(1)
        targets = mixed.labels[own:]
        return -torch.where(targets > 0, targets * logs, 0.0).sum(1).mean()  # classes to come have logits of -inf

    def _build(self, strategy: MMCLTemplate) -> nn.Module:
        if self.head is None:
            dim = linear_head(strategy.model).weight.shape[1]
            self.head = nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, self.projection))
            self.head.to(strategy.device)
            distributed.broadcast_parameters(self.head)
        return self.head

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the state of the contrast head."""
        return {"head": self._build(strategy).state_dict()}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the contrast head.

        Raises:
            CheckpointError: the state belongs to another head.
        """
        load_state(self._build(strategy), state["head"], "the contrast head of core_tuning")

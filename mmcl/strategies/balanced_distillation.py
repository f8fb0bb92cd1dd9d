"""BalancedDistillation: a plugin that weighs distillation against cross-entropy by the share of old classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl.config.numbers import Positive
from mmcl.errors import ConfigError
from mmcl.objectives.distill import logit_distillation
from mmcl.strategies.distillation import require_classifier
from mmcl.strategies.teacher import teacher_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class BalancedDistillation(SupervisedPlugin):
    """Distil the teacher's probabilities of old classes, with the share of old classes as weight.

    ``loss = (1 - s) cross-entropy + s mean KL(softmax(t / T) || softmax(f / T))`` over the logits f and t of student
    and teacher for the n old classes, with ``s = n / (n + m)`` for m new ones. BiC, Wu et al. 2019, arXiv 1905.13260,
    section 3; also used in WA, Zhao et al. 2020, arXiv 1911.07053. The KL divergence has the gradient of the papers'
    cross-entropy.

    The plugin precedes plugins that add to the loss, which would be weighed too.

    Args:
        temperature: temperature T of the softmaxes of student and teacher.

    Raises:
        ConfigError: the temperature is not positive; or, when training begins, the model is no classifier.
    """

    needs_teacher = True

    def __init__(self, temperature: Positive = 2.0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ConfigError(f"temperature is {temperature}, expected more than 0")
        self.temperature = temperature
        self._old: Tensor = torch.empty(0, dtype=torch.long)

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model is a classifier."""
        require_classifier(strategy.model, "balanced distillation")

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Move the labels of old classes to the device of the model."""
        old = sorted(strategy.experience.previous_classes)  # none if the first experience is trained again
        self._old = torch.tensor(old, dtype=torch.long, device=strategy.device)

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Weigh the cross-entropy, and add the distillation."""
        teacher = teacher_of(strategy)
        if teacher is None:
            return
        with torch.no_grad():
            target = teacher(strategy.mbatch).logits[:, self._old]
        share = len(self._old) / len(strategy.experience.classes_seen_so_far)
        term = logit_distillation(strategy.mb_output[:, self._old], target, self.temperature)
        strategy.loss = (1 - share) * strategy.loss
        strategy.add_loss("distillation", term / self.temperature**2, share)

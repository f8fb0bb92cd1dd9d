"""Distillation: the model as it was before the experience teaches the one that is trained."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from mmcl.errors import ConfigError
from mmcl.freeze import frozen_copy, trainable_state
from mmcl.objectives.distill import logit_distillation


class LogitDistillation(SupervisedPlugin):
    """Keep the probabilities among earlier classes what the teacher says they are (LwF, Li and Hoiem 2016).

    ``loss = cross-entropy + weight * logit_distillation(student, teacher)``, on every sample of the batch, over the
    classes that the teacher knows.

    Args:
        weight: of the term; 0 leaves training as it is without the plugin.
        temperature: of both softmaxes.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 2.0) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise ConfigError(f"weight is {weight}, temperature {temperature}: expected weight >= 0, temperature > 0")
        self.weight = weight
        self.temperature = temperature
        self.teacher: nn.Module | None = None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        """Add the term."""
        if self.teacher is None or self.weight == 0:
            return
        with torch.no_grad():
            target = self.teacher(strategy.mbatch).logits
        known = target[0].isfinite().nonzero().flatten()  # a class that had not arrived has logit minus infinity
        term = logit_distillation(strategy.mb_output[:, known], target[:, known], self.temperature)
        strategy.add_loss("distillation", term, self.weight)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Make the teacher of the next experience."""
        if self.weight:
            self.teacher = frozen_copy(strategy.model)

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """The teacher's weights."""
        return teacher_state(self.teacher, strategy.model)

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up the teacher that :meth:`state_dict` gave."""
        self.teacher = restored_teacher(state, strategy.model)


def teacher_state(teacher: nn.Module | None, model: nn.Module) -> dict[str, Any]:
    """Return what a checkpoint needs of a teacher of ``model``, nothing if there is none yet."""
    if teacher is None:
        return {}
    trained = trainable_state(model)  # of the teacher itself everything is frozen
    return {"teacher": {name: tensor for name, tensor in teacher.state_dict().items() if name in trained}}


def restored_teacher(state: dict[str, Any], model: nn.Module) -> nn.Module | None:
    """Return the teacher that :func:`teacher_state` described; ``model`` is of the same making."""
    if "teacher" not in state:
        return None
    teacher = frozen_copy(model)
    teacher.load_state_dict(state["teacher"], strict=False)
    return teacher

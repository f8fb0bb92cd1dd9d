"""RelationalDistillation: a plugin that distils distances and angles between embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from avalanche.core import SupervisedPlugin

from mmcl.config.numbers import NonNegative
from mmcl.errors import ConfigError
from mmcl.objectives.distill import relational_distillation
from mmcl.strategies.teacher import teacher_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class RelationalDistillation(SupervisedPlugin):
    """Distil distances and angles between the teacher's embeddings (RKD, Park et al. 2019, arXiv 1904.05068).

    ``loss = cross-entropy + weight * relational_distillation(student, teacher)`` over the embeddings of all samples of
    the batch. No memory is needed. Only relations between embeddings are kept, so the embedding space may rotate.
    Differs from the paper: the teacher is the model from before the experience.

    Args:
        weight: weight of the relational distillation; 0 turns it off.
        distance_weight: weight of the distances between two samples.
        angle_weight: weight of the angles between three samples, which need memory for batch^3 numbers.

    Raises:
        ConfigError: a weight is negative; or, when training begins, the model has no embeddings.
    """

    def __init__(
        self, weight: NonNegative = 1.0, distance_weight: NonNegative = 1.0, angle_weight: NonNegative = 2.0
    ) -> None:
        super().__init__()
        if min(weight, distance_weight, angle_weight) < 0:
            raise ConfigError(
                f"weight={weight}, distance_weight={distance_weight}, angle_weight={angle_weight}: expected 0 or more"
            )
        self.weight = weight
        self.settings = {"distance_weight": distance_weight, "angle_weight": angle_weight}
        self.needs_teacher = weight > 0

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has embeddings."""
        if not hasattr(strategy.model, "embed"):
            raise ConfigError(
                f"{type(strategy.model).__name__} has no embed(batch), which relational distillation needs: expected a "
                "model with embeddings, such as SLUClassifier"
            )

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the distillation to the loss."""
        teacher = teacher_of(strategy)
        if teacher is None or self.weight == 0:
            return
        with torch.no_grad():
            target = strategy.training_step.forward(teacher.embed, strategy.mbatch)
        term = relational_distillation(strategy.output.embedding, target, **self.settings)
        strategy.add_loss("relational_kd", term, self.weight)

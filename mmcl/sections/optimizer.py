"""Config section of the optimizer and its learning rate schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mmcl.config.model import StrictModel

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from mmcl.training.step import SchedulerMaker


class OptimizerSection(StrictModel):
    """The optimizer AdamW and its learning rate schedule."""

    learning_rate: float = Field(1e-3, gt=0, description="learning rate of AdamW")
    encoder_learning_rate: float | None = Field(
        None, gt=0, description="learning rate of encoder parameters; none: learning_rate"
    )
    weight_decay: float = Field(1e-2, ge=0, description="weight decay of AdamW")
    schedule: Literal["constant", "cosine"] = Field(
        "constant", description="learning rate schedule; in a stream, it restarts in each experience"
    )
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; none: no clipping")

    def build(self, model: nn.Module, encoder: nn.Module) -> Optimizer:
        """Build the optimizer of a model's trainable parameters.

        Args:
            model: model to train.
            encoder: module within the model that is trained with ``encoder_learning_rate``.
        """
        import torch

        encoder_ids = {id(parameter) for parameter in encoder.parameters()}
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups: list[dict[str, Any]] = [{"params": [p for p in trained if id(p) not in encoder_ids]}]
        if tuned := [p for p in trained if id(p) in encoder_ids]:
            # The first group, because parameters that the model grows join the last one.
            groups.insert(0, {"params": tuned, "lr": self.encoder_learning_rate or self.learning_rate})
        return torch.optim.AdamW(groups, lr=self.learning_rate, weight_decay=self.weight_decay, fused=True)

    def scheduler(self) -> SchedulerMaker | None:
        """Return the function that makes the schedule; None for constant learning rates."""
        import torch

        return torch.optim.lr_scheduler.CosineAnnealingLR if self.schedule == "cosine" else None

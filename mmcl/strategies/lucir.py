"""LUCIR: a plugin that classifies by angles, keeps embeddings, and separates old classes from new ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcl.config.numbers import Count, NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.strategies.head_correction import linear_head, old_and_new
from mmcl.strategies.teacher import teacher_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class LUCIR(SupervisedPlugin):
    """Train with cosine logits, a less-forget constraint on embeddings, and a margin between old and new classes.

    ``loss = CE(n cos(w, f)) + forget_weight sqrt(old / new) mean (1 - cos(f, f*)) + margin_weight R`` with embeddings f
    of the model and f* of the teacher, head weights w, a learned scale n, and the numbers of old and new classes.
    ``R = mean over rehearsal samples of sum_k max(margin - cos(w_y, f) + cos(w_k, f), 0)`` is over the ``negatives``
    new classes k of largest cosine. LUCIR, Hou et al. 2019 (CVPR), equations 4 and 6 to 8.

    After an experience, weights of the head are scaled to unit length, and its bias is set to 0. The model then
    predicts the class of the largest cosine.

    Differs from the paper: no imprinted weights, and the layer before the embedding keeps its ReLU. The scale starts
    higher, because adaptive optimizers change it slowly. The square root is that of the authors' code.

    Args:
        forget_weight: base weight of the less-forget constraint; 0 turns it off.
        margin_weight: weight of the margin ranking loss; 0 turns it off.
        margin: margin between the cosines.
        negatives: new classes that a rehearsal sample is compared with.
        scale: initial scale of the cosine logits.

    Raises:
        ConfigError: a setting is out of range; or, when training begins, the model's classifier is not a linear layer.
    """

    needs_teacher = True

    def __init__(
        self,
        forget_weight: NonNegative = 5.0,
        margin_weight: NonNegative = 1.0,
        margin: NonNegative = 0.5,
        negatives: Count = 2,
        scale: Positive = 10.0,
    ) -> None:
        super().__init__()
        if min(forget_weight, margin_weight, margin) < 0 or negatives < 1 or scale <= 0:
            raise ConfigError(
                f"forget_weight is {forget_weight}, margin_weight {margin_weight}, margin {margin}, negatives "
                f"{negatives}, scale {scale}: expected weights and margin >= 0, negatives >= 1, scale > 0"
            )
        self.forget_weight, self.margin_weight, self.margin = forget_weight, margin_weight, margin
        self.negatives, self.scale = negatives, nn.Parameter(torch.tensor(float(scale)))
        self._old, self._new = 0, torch.empty(0, dtype=torch.long)
        self._cosines = torch.empty(0, 0)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the scale; the loop adds it to the optimizer."""
        yield self.scale

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model has a linear classifier, and move the scale to the strategy's device."""
        linear_head(strategy.model)
        self.scale.data = self.scale.data.to(strategy.device)

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Count old classes, and move the labels of new ones to the strategy's device."""
        old, new = old_and_new(strategy)
        self._old = len(old)
        self._new = torch.tensor(new, dtype=torch.long, device=strategy.device)

    def after_forward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Replace the logits by scaled cosines; those of classes that have not arrived stay at minus infinity."""
        weight = linear_head(strategy.model).weight
        self._cosines = normalize(strategy.output.embedding, dim=1) @ normalize(weight, dim=1).T
        strategy.mb_output = (self.scale * self._cosines).masked_fill(strategy.mb_output.isneginf(), float("-inf"))

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the less-forget constraint and the margin ranking loss."""
        teacher = teacher_of(strategy)
        if teacher is None or not self._old or not len(self._new):
            return
        if self.forget_weight:
            with torch.no_grad():
                target = normalize(teacher(strategy.mbatch).embedding, dim=1)
            kept = (1 - (normalize(strategy.output.embedding, dim=1) * target).sum(1)).mean()
            strategy.add_loss("less_forget", kept, self.forget_weight * math.sqrt(self._old / len(self._new)))
        if self.margin_weight and strategy.rehearses:
            strategy.add_loss("margin", self._margin_ranking(strategy), self.margin_weight, gathered=True)

    def _margin_ranking(self, strategy: MMCLTemplate) -> Tensor:
        """Return this process's share of the mean over the rehearsal samples of all processes."""
        count = sum(strategy.dataloader.global_is_rehearsal.tolist())  # on the CPU
        own = self._cosines.gather(1, strategy.mb_y[:, None])
        hardest = self._cosines[:, self._new].topk(min(self.negatives, len(self._new)), dim=1).values
        each = (self.margin - own + hardest).clamp(min=0).sum(1)
        return torch.where(strategy.mbatch["is_rehearsal"], each, 0.0).sum() / count

    @torch.no_grad()
    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Scale the head's weights to unit length, so that the model itself predicts by cosines."""
        head = linear_head(strategy.model)
        head.weight.copy_(normalize(head.weight, dim=1))
        head.bias.zero_()

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the scale."""
        return {"scale": self.scale.detach()}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the scale."""
        self.scale.data.copy_(state["scale"])

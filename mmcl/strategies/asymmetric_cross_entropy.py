"""AsymmetricCrossEntropy: a plugin that trains new samples on the classes of their batch only (ER-ACE)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl import distributed
from mmcl.errors import ConfigError
from mmcl.strategies.distillation import require_classifier

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class AsymmetricCrossEntropy(SupervisedPlugin):
    """Compute the cross-entropy of new samples over current classes only, and that of rehearsal samples over all.

    ``loss = mean over the batch of -log softmax(logits over C(x))[y]``, where C(x) is all classes seen for a sample
    from the memory, and the current classes for a new one. New samples then do not push down the logits of old
    classes. Only rehearsal samples tell new classes from old ones, so the memory must hold samples of both: use
    :class:`~mmcl.strategies.early_rehearsal.EarlyRehearsal`. ER-ACE, Caccia et al. 2022, arXiv 2104.05025.

    Differs from the paper: one mean over a batch that mixes new and rehearsal samples, in place of the sum of two means
    over batches of equal size. Samples join the memory before an experience and not on the way. As in the authors'
    code, the first experience has the plain cross-entropy.

    Args:
        current: current classes of a new sample: ``"batch"``, those of the new samples in its batch as in the paper, or
            ``"experience"``, all that arrive with the experience.

    Raises:
        ConfigError: ``current`` is unknown; or, when training begins, the model is no classifier.
    """

    def __init__(self, current: Literal["batch", "experience"] = "batch") -> None:
        super().__init__()
        if current not in ("batch", "experience"):
            raise ConfigError(f"current is '{current}', expected batch or experience")
        self.current = current
        self._arriving = torch.empty(0, dtype=torch.long)

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that the model is a classifier."""
        require_classifier(strategy.model, "the asymmetric cross-entropy")

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Move the labels that arrive to the device of the model."""
        self._arriving = torch.tensor(list(strategy.experience.group), dtype=torch.long, device=strategy.device)

    def after_forward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Set the logits of other classes to minus infinity for new samples."""
        if not strategy.experience.previous_classes:
            return
        logits, is_rehearsal = strategy.mb_output, strategy.mbatch["is_rehearsal"]
        if self.current == "batch":
            labels = torch.where(is_rehearsal, logits.shape[1], strategy.mb_y)  # of rehearsal samples: one past the end
        else:
            labels = self._arriving
        is_current = _marked(labels, logits.shape[1] + 1)[:-1]
        strategy.mb_output = logits.masked_fill(~(is_rehearsal[:, None] | is_current), float("-inf"))


def _marked(labels: Tensor, classes: int) -> Tensor:
    """Return which classes are among the labels in any process, boolean ``(classes,)``."""
    marks = labels.new_zeros(classes).index_fill_(0, labels, 1)
    if distributed.world_size() > 1:
        with distributed.together("to share the classes of a batch"):
            torch.distributed.all_reduce(marks, op=torch.distributed.ReduceOp.MAX)
    return marks.bool()

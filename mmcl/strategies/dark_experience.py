"""DarkExperience: a plugin that stores logits with the samples in memory, and trains towards them (DER, DER++)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from mmcl.batch import moved
from mmcl.config.numbers import NonNegative
from mmcl.data.base import Dataset
from mmcl.errors import ConfigError
from mmcl.strategies.distillation import require_classifier
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.rehearsal import memory_of
from mmcl.strategies.teacher import without_read_out

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class DarkExperience(SupervisedPlugin):
    """Train samples in memory towards the logits that the model gave them when they were stored.

    ``loss = mean over the batch of [x new] CE(x) + [x rehearsed] (alpha mean_c (f_c(x) - z_c)^2 + beta CE(x))``, where
    f are the logits of the model and z the stored ones. Dark experience replay, Buzzega et al. 2020, arXiv 2004.07211:
    algorithm 1 (DER) has ``beta=0``, and algorithm 2 (DER++) has both terms. With ``alpha=0`` and ``beta=1`` it is
    replay.

    The head grows, so z lacks the classes that arrive later. When they arrive, z is completed by the logits of their
    untrained columns, as the paper's head would have given them. The squared error is a mean over all classes seen.

    Differs from the paper: logits are stored at the end of a sample's experience, not along the training. Both terms
    use the same samples, which are shuffled into the batches. The squared error is a mean over classes, and not a sum,
    as in the authors' code.

    The plugin follows a :class:`~mmcl.strategies.rehearsal.Rehearsal`, and precedes plugins that add to the loss.

    Args:
        alpha: weight of the squared error to the stored logits; 0 turns it off.
        beta: weight of the cross-entropy of samples in memory.

    Attributes:
        rows: rows of the samples with stored logits.
        logits: their logits ``(samples, classes)``, minus infinity for classes that had not arrived.

    Raises:
        ConfigError: a weight is negative; or, when training begins, the strategy has no memory or no classifier.
    """

    def __init__(self, alpha: NonNegative = 0.3, beta: NonNegative = 0.5) -> None:
        super().__init__()
        if alpha < 0 or beta < 0:
            raise ConfigError(f"alpha is {alpha}, beta {beta}: expected 0 or more")
        self.alpha, self.beta = alpha, beta
        self.rows: list[int] = []
        self.logits = torch.empty(0, 0)
        self._places, self._stored = torch.empty(0, dtype=torch.long), self.logits

    def kept_bytes(self) -> int:
        """Return the bytes of the stored logits."""
        return self.logits.numel() * self.logits.element_size()

    def bytes_per_sample(self, classes: int) -> int:
        """Return the bytes of the logits of a sample."""
        return classes * self.logits.element_size()

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that there are a memory and a classifier."""
        memory_of(strategy)
        require_classifier(strategy.model, "dark experience replay")

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Complete the stored logits by those of classes that arrive, and move them to the device of the model."""
        self._drop_removed(strategy)
        if self.rows:
            now = head_logits(strategy, strategy.experience.source, self.rows).float().cpu()
            stored = self._padded(now.shape[1])
            self.logits = torch.where(stored.isfinite(), stored, now)
        self._places = torch.zeros(len(strategy.experience.source), dtype=torch.long)
        self._places[torch.tensor(self.rows, dtype=torch.long)] = torch.arange(len(self.rows))
        self._stored = self.logits.to(strategy.device)

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Weigh the cross-entropy, and add the squared error to the stored logits."""
        if not strategy.rehearses:
            return
        logits, is_rehearsal = strategy.mb_output, strategy.mbatch["is_rehearsal"]
        if self.beta != 1:
            each = cross_entropy(logits, strategy.mb_y, reduction="none")
            strategy.loss = strategy.loss.new_zeros(())  # replaces the cross-entropy
            strategy.add_loss("weighted_cross_entropy", (each * torch.where(is_rehearsal, self.beta, 1.0)).mean())
        if self.alpha:
            stored = self._stored[moved(self._places[strategy.mbatch["rows"]], strategy.device)]
            known = stored.isfinite() & is_rehearsal[:, None]
            errors = torch.where(known, logits[:, : stored.shape[1]] - stored, 0.0).square()
            strategy.add_loss("dark", (errors.sum(1) / known.sum(1).clamp(min=1)).mean(), self.alpha)

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Store the logits of samples that joined the memory, and drop those of samples that left it."""
        self._drop_removed(strategy)
        known = set(self.rows)
        if added := [row for row in memory_of(strategy).rows if row not in known]:
            new = head_logits(strategy, strategy.experience.source, added).float().cpu()
            self.rows, self.logits = [*self.rows, *added], torch.cat([self._padded(new.shape[1]), new])

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the stored logits and the rows of their samples."""
        self._drop_removed(strategy)
        return {"rows": list(self.rows), "logits": self.logits}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the stored logits."""
        self.rows, self.logits = list(state["rows"]), state["logits"].cpu()

    def _padded(self, classes: int) -> Tensor:
        return pad(self.logits, (0, classes - self.logits.shape[1]), value=-torch.inf)

    def _drop_removed(self, strategy: MMCLTemplate) -> None:
        kept = set(memory_of(strategy).rows)
        places = [place for place, row in enumerate(self.rows) if row in kept]
        if len(places) < len(self.rows):
            self.rows, self.logits = [self.rows[place] for place in places], self.logits[places]


@torch.no_grad()
def head_logits(strategy: MMCLTemplate, source: Dataset, rows: list[int]) -> Tensor:
    """Return the logits of the model's head for samples in evaluation mode, ``(rows, classes)``."""
    model, step = strategy.model, strategy.training_step
    was_training = model.training
    model.eval()
    loader = BatchLoader(source, torch.tensor(rows), batch_size=strategy.eval_mb_size, shuffle=False)
    with without_read_out(model):
        logits = torch.cat([step.forward(model, batch.to(strategy.device)).logits for batch in loader])
    model.train(was_training)
    return logits

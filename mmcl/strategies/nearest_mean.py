"""NearestMean: a plugin that classifies by the distance to each class's mean in memory (iCaRL)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl.objectives.kernel.unit import directions
from mmcl.strategies.rehearsal import Rehearsal, unit_embeddings

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class NearestMean(SupervisedPlugin):
    """In evaluation, replace the logits by the negative distance to each class's mean exemplar.

    ``score_y = -|| e - m_y ||``, where e is the unit-length embedding of the sample. m_y is the mean of the unit-length
    embeddings of the class's samples in memory, scaled to unit length. iCaRL, Rebuffi et al. 2017, algorithm 1.

    Args:
        rehearsal: the memory, a plugin placed before this one so that it is updated first.
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self.rehearsal = rehearsal
        self.means: dict[int, Tensor] | None = None

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Compute the class means with the current model."""
        source, memory = strategy.experience.source, self.rehearsal.memory
        embeddings = {
            label: unit_embeddings(strategy.model, source, rows, strategy.eval_mb_size, strategy.device)
            for label, rows in memory.items()
        }
        self.means = {label: directions(exemplars.mean(0, keepdim=True))[0] for label, exemplars in embeddings.items()}

    def after_eval_forward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Replace the logits."""
        if self.means is None:
            return
        means = torch.stack(list(self.means.values()))
        distances = torch.cdist(directions(strategy.output.embedding), means)
        classes = max(len(strategy.experience.source.classes), *(label + 1 for label in self.means))
        scores = distances.new_full((len(distances), classes), -torch.inf)
        scores[:, list(self.means)] = -distances  # other classes have no mean yet and stay at minus infinity
        strategy.mb_output = scores

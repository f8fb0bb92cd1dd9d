"""Nearest mean of exemplars: classify by distance to what is in memory (iCaRL)."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor

from mmcl.objectives.kernel.unit import directions
from mmcl.strategies.rehearsal import Rehearsal, unit_embeddings


class NearestMean(SupervisedPlugin):
    """In evaluation, replace the logits by minus the distance to each class's mean exemplar.

    ``score_y = -|| e - m_y ||`` with e the unit-length embedding of the sample and m_y the mean of those of the class's
    samples in memory, itself scaled to unit length. iCaRL, Rebuffi et al. 2017, algorithm 1.

    Args:
        rehearsal: the memory; it stands before this plugin, so that it is up to date.
    """

    def __init__(self, rehearsal: Rehearsal) -> None:
        super().__init__()
        self.rehearsal = rehearsal
        self.means: dict[int, Tensor] | None = None

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Compute the means under the model as it is now."""
        source, memory = strategy.experience.source, self.rehearsal.memory
        embeddings = {
            label: unit_embeddings(strategy.model, source, rows, strategy.eval_mb_size, strategy.device)
            for label, rows in memory.items()
        }
        self.means = {label: directions(exemplars.mean(0, keepdim=True))[0] for label, exemplars in embeddings.items()}

    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Classify."""
        if self.means is None:
            return
        means = torch.stack(list(self.means.values()))
        distances = torch.cdist(directions(strategy.output.embedding), means)
        scores = distances.new_full((len(distances), len(strategy.experience.source.classes)), -torch.inf)
        scores[:, list(self.means)] = -distances  # a distance from infinity, where nothing is yet, would be no number
        strategy.mb_output = scores

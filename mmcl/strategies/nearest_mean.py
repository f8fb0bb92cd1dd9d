"""Nearest mean of exemplars: classify by distance to what is in memory (iCaRL)."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.nn.functional import normalize

from mmcl.strategies.rehearsal import Rehearsal, embed_rows


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
        self.means: Tensor | None = None

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Compute the means under the model as it is now."""
        source, memory = strategy.experience.source, self.rehearsal.memory
        embeddings = {
            label: embed_rows(strategy.model, source, rows, strategy.eval_mb_size, strategy.device)
            for label, rows in memory.items()
        }
        dim = next(iter(embeddings.values())).shape[1]
        self.means = torch.full((len(source.classes), dim), float("inf"), device=strategy.device)
        for label, exemplars in embeddings.items():
            self.means[label] = normalize(exemplars.mean(0), dim=0)

    def after_eval_forward(self, strategy: Any, **kwargs: Any) -> None:
        """Classify."""
        if self.means is not None:
            strategy.mb_output = -torch.cdist(normalize(strategy.output.embedding, dim=1), self.means)

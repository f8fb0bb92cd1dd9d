"""GradientProjection: a plugin that keeps an update from increasing the loss of samples in memory (A-GEM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmcl import distributed
from mmcl.config.numbers import Count
from mmcl.errors import ConfigError
from mmcl.strategies.distillation import require_classifier
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.rehearsal import Rehearsal, memory_of

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class EpisodicMemory(Rehearsal):
    """Keep a class-balanced memory of samples that are not trained on, for gradients to be compared with.

    Args:
        memory_size: samples in memory, all classes together; 0 keeps none.
        selection: selection of samples, see :class:`~mmcl.strategies.rehearsal.Rehearsal`.
        by_superclass: balance the memory by superclass.
        memory_bytes: size of the memory in bytes of samples, in place of memory_size; None: no limit.

    Raises:
        ConfigError: the memory is too small for a sample of each class in the stream; raised before training.
        CheckpointError: the rows of a loaded state are other samples in the current data.
    """

    def after_train_dataset_adaptation(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add nothing to the training data of the experience."""


class GradientProjection(SupervisedPlugin):
    """Project the gradient so that it does not oppose that of random samples in memory (A-GEM).

    ``g - min(g . r, 0) / (r . r) r``, where g is the gradient of the loss, and r that of the cross-entropy of samples
    drawn from the memory in each step. A-GEM, Chaudhry et al. 2019, arXiv 1812.00420. Avalanche's ``AGEMPlugin`` is not
    used, because it unpacks batches as tuples.

    Differs from the paper: the memory is balanced by class, and filled at the end of an experience. The samples of a
    reference batch differ from each other.

    Args:
        reference_size: samples drawn from the memory in each step; None for the batch size.

    Raises:
        ConfigError: the strategy has no memory or no classifier; raised when training begins.
    """

    def __init__(self, reference_size: Count | None = None) -> None:
        super().__init__()
        if reference_size is not None and reference_size < 1:
            raise ConfigError(f"reference_size is {reference_size}, expected 1 or more, or None for the batch size")
        self.reference_size = reference_size
        self._rows = torch.empty(0, dtype=torch.long)

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Check that there are a memory and a classifier."""
        memory_of(strategy)
        require_classifier(strategy.model, "gradient projection")

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Read the rows in memory, which stay the same within an experience."""
        self._rows = torch.tensor(memory_of(strategy).rows, dtype=torch.long)

    def after_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Project the gradient."""
        if not len(self._rows):
            return
        chosen = torch.randperm(len(self._rows))[: self.reference_size or strategy.train_mb_size]
        parameters = [each for each in strategy.model.parameters() if each.grad is not None]
        references = _reference(strategy, self._rows[chosen], parameters)
        own, reference = torch.cat([each.grad.flatten() for each in parameters]), torch.cat(references)
        processes = distributed.world_size()
        if processes > 1:
            with distributed.together("to add up gradients"):
                torch.distributed.all_reduce(own)
                torch.distributed.all_reduce(reference)
        projected = project(own, reference) / processes  # the step adds up the gradients of all processes
        for each, part in zip(parameters, projected.split([each.numel() for each in parameters]), strict=True):
            each.grad = part.view_as(each)


def project(gradient: Tensor, reference: Tensor) -> Tensor:
    """Return a gradient without its component against a reference, ``(parameters,)``.

    >>> reference = torch.tensor([1.0, 0.0])
    >>> project(torch.tensor([-2.0, 3.0]), reference).tolist(), project(torch.tensor([2.0, 3.0]), reference).tolist()
    ([0.0, 3.0], [2.0, 3.0])
    """
    squared = (reference @ reference).clamp(min=torch.finfo(reference.dtype).tiny)
    return gradient - (gradient @ reference).clamp(max=0) / squared * reference


def _reference(strategy: MMCLTemplate, rows: Tensor, parameters: list[torch.nn.Parameter]) -> list[Tensor]:
    """Return the flat gradients of the cross-entropy of samples."""
    (batch,) = BatchLoader(strategy.experience.source, rows, batch_size=len(rows), shuffle=False)
    batch = batch.to(strategy.device)
    logits = strategy.training_step.forward(strategy.model, batch).logits
    found = torch.autograd.grad(cross_entropy(logits, batch["label"]), parameters, allow_unused=True)
    pairs = zip(parameters, found, strict=True)
    return [(torch.zeros_like(each) if gradient is None else gradient).flatten() for each, gradient in pairs]

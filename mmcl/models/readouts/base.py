"""ReadOut: base of classifiers of embeddings that are computed in closed form from statistics."""

from __future__ import annotations

import inspect
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import class_labels
from mmcl.errors import ConfigError
from mmcl.models.readouts.statistics import ClassStatistics, resize_buffers

logger = logging.getLogger(__name__)

#: Prefixes of statistics in a state. An exported model leaves them out, because predictions need only the solution.
STATISTICS = ("statistics.", "held_out.")


class ReadOut(nn.Module, ABC):
    """Base of closed-form classifiers of embeddings.

    :meth:`add` collects statistics of samples, and :meth:`solve` computes the classifier from them. Both the statistics
    and the solution are buffers, so they are saved with the model and moved with it. Their size does not depend on the
    number of samples.

    A subclass has an argument of its constructor for each setting, and an attribute of the same name.

    Attributes:
        statistics: statistics of the transformed embeddings.
        seen: classes that have a solution, boolean ``(classes,)``.
        dim: dimension of the embeddings; 0 before the first, and after loading.
    """

    dim = 0
    _warned = False

    statistics: ClassStatistics
    seen: Tensor

    def __init__(self, statistics: ClassStatistics) -> None:
        super().__init__()
        self.statistics = statistics
        self.register_buffer("seen", torch.empty(0, dtype=torch.bool))

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        values = {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def grow(self, labels: Iterable[int]) -> None:
        """Add classes.

        Raises:
            LabelError: a label is negative or not an integer.
            ConfigError: the read-out was exported, so it has no statistics.
        """
        if len(self.seen) > len(self.statistics.counts):
            raise ConfigError(
                "the read-out of an exported model has no statistics, so it cannot learn: continue the run instead, or "
                "start with a new read-out"
            )
        self._resize(classes=1 + max(class_labels(labels), default=-1))

    def allocate(self, dim: int) -> None:
        """Set the dimension of the embeddings, if it is not known yet."""
        self.dim = dim
        self._resize(dim=self.transformed_dim(dim))

    def reset(self) -> None:
        """Forget all samples; the solution stays until :meth:`solve`."""
        self.statistics.reset()

    def add(self, embeddings: Tensor, labels: Tensor, held_out: Tensor | None = None) -> None:
        """Add samples to the statistics.

        Args:
            embeddings: ``(batch, dim)``.
            labels: ``(batch,)``.
            held_out: samples to choose settings with, boolean ``(batch,)``, for read-outs that do.
        """
        self.allocate(embeddings.shape[1])
        self.statistics.add(self.transform(embeddings.double()), labels)  # float32 would round with each batch's shape

    @torch.no_grad()
    def solve(self) -> None:
        """Compute the classifier from the statistics.

        Raises:
            ConfigError: a covariance is singular with these settings.
        """
        for name, value in self.solution().items():
            setattr(self, name, value.to(torch.float32))
        self.seen = self.statistics.counts > 0

    @takes_tensors
    def forward(self, embeddings: Tensor) -> Tensor:
        """Return scores ``(batch, classes)`` of embeddings ``(batch, dim)``, minus infinity for unseen classes."""
        with torch.autocast(embeddings.device.type, enabled=False):
            scores = self.scores(self.transform(embeddings.float()))
        return scores.masked_fill(~self.seen, float("-inf"))

    def warn_once(self, message: str) -> None:
        """Log a warning about the samples, unless there was one before."""
        if not self._warned:
            logger.warning(message)
        self._warned = True

    def transformed_dim(self, dim: int) -> int:
        """Return the dimension of transformed embeddings, given that of embeddings."""
        return dim

    def transform(self, embeddings: Tensor) -> Tensor:
        """Transform embeddings before they are collected and classified."""
        return embeddings

    @abstractmethod
    def solution(self) -> dict[str, Tensor]:
        """Compute the buffers of the classifier from the statistics."""

    @abstractmethod
    def expect(self, dim: int, classes: int) -> None:
        """Allocate the solution, without statistics, to load that of an exported model."""

    @abstractmethod
    def scores(self, transformed: Tensor) -> Tensor:
        """Return scores ``(batch, classes)`` of transformed embeddings."""

    def _resize(self, classes: int = 0, dim: int = 0) -> None:
        self.statistics.resize(classes, dim)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        resize_buffers(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


class LinearReadOut(ReadOut):
    """Base of read-outs with linear scores.

    Attributes:
        weight: ``(classes, dim)``.
        bias: ``(classes,)``.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, statistics: ClassStatistics) -> None:
        super().__init__(statistics)
        self.register_buffer("weight", torch.empty(0, 0))
        self.register_buffer("bias", torch.empty(0))

    def expect(self, dim: int, classes: int) -> None:
        """Allocate the solution, without statistics, to load that of an exported model."""
        self.weight = torch.empty(classes, self.transformed_dim(dim))
        self.bias, self.seen = torch.empty(classes), torch.empty(classes, dtype=torch.bool)

    def scores(self, transformed: Tensor) -> Tensor:
        """Return scores ``(batch, classes)`` of transformed embeddings."""
        return nn.functional.linear(transformed, self.weight, self.bias)


def discriminant(statistics: ClassStatistics, factor: Tensor | None = None) -> dict[str, Tensor]:
    """Return weight and bias of the linear discriminant of class means.

    ``score_c = -1/2 (x - m_c)^T S^-1 (x - m_c)``, without terms that are the same for all classes. Means are taken
    relative to the mean of all samples, which changes no difference of scores and keeps float32 accurate.

    Args:
        statistics: statistics of the classes.
        factor: lower Cholesky factor of the covariance S; None for the identity.
    """
    center = statistics.grand_mean()
    means = statistics.means() - center
    weight = means if factor is None else torch.cholesky_solve(means.T, factor).T.contiguous()
    return {"weight": weight, "bias": -(weight * (means / 2 + center)).sum(1)}


def active_read_out(model: nn.Module) -> ReadOut | None:
    """Return the read-out that classifies in place of a model's head; None in training, or if it is not solved yet."""
    readout = getattr(model, "readout", None)
    return readout if isinstance(readout, ReadOut) and not model.training and len(readout.seen) else None

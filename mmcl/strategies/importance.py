"""ImportancePenalty: base of plugins that keep important parameters near their values after earlier experiences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from mmcl import distributed
from mmcl.data.avalanche_streams import rows_of
from mmcl.errors import ConfigError
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.process_sums import sum_over_processes
from mmcl.strategies.teacher import without_read_out

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class ImportancePenalty(SupervisedPlugin, ABC):
    """Base of plugins that add a quadratic penalty for changes of important parameters.

    ``loss = cross-entropy + scale * (sum_i importance_i (theta_i - anchor_i)^2 + offset)``. A subclass measures the
    importance of each parameter after an experience, in :meth:`measure`. Importances add up over experiences, times
    ``decay`` before each addition. The anchor is the parameters after the last experience.

    Parameters that do not require a gradient are skipped. Parameters that the model grows for new classes have an
    importance of 0 until the experience ends. Parameters without any importance are neither kept nor penalized, such as
    those of a text encoder that the method does not use.

    Args:
        name: name of the loss term.
        scale: weight of the penalty in the loss; 0 turns it off.
        decay: factor of earlier importances.

    Attributes:
        importance: importances by name of the parameter; empty before the first experience ends.
        anchor: values of the same parameters that the penalty pulls to.
        offset: part of the penalty that does not depend on the parameters, a scalar.
    """

    def __init__(self, name: str, scale: float, decay: float = 1.0) -> None:
        super().__init__()
        self.name, self.scale, self.decay = name, scale, decay
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        self.offset = torch.zeros(())
        self._trained: dict[str, nn.Parameter] = {}  # all trained parameters
        self._penalized: dict[str, nn.Parameter] = {}  # those that have an importance
        self._flat = torch.zeros(0), torch.zeros(0)  # importance and anchor of the penalized ones as vectors

    @abstractmethod
    def measure(self, strategy: MMCLTemplate) -> dict[str, Tensor]:
        """Return the importances in the experience that ends, by name of the parameter."""

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Bring importances and anchors to the size of the model."""
        self._trained = trained_parameters(strategy.model)
        important = {name for name, each in self.importance.items() if each.any()}
        self._penalized = {name: each for name, each in self._trained.items() if name in important}
        if self._penalized:
            self._flat = self._vector(self.importance), self._vector(self.anchor)
        self.offset = self.offset.to(strategy.device)

    def before_backward(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add the penalty to the loss."""
        if self._penalized and self.scale:
            importance, anchor = self._flat
            change = flat(self._penalized.values()) - anchor
            strategy.add_loss(self.name, (importance * change).dot(change) + self.offset, self.scale)

    @torch.no_grad()
    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Measure importances, and add them to those of earlier experiences."""
        for name, measured in self.measure(strategy).items():
            values = self._trained[name].detach().clone()
            if name in self._penalized:
                earlier = self.decay * _padded(self.importance[name], values)
                combined = self.combine(earlier, _padded(self.anchor[name], values), measured, values)
                self.importance[name], self.anchor[name] = combined
            elif measured.any():
                self.importance[name], self.anchor[name] = measured.clone(), values

    def combine(self, importance: Tensor, anchor: Tensor, measured: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return importance and anchor of a parameter after an experience, in its shape.

        Args:
            importance: importance in earlier experiences, after the decay.
            anchor: anchor of earlier experiences.
            measured: importance in the experience that ends.
            values: the parameter after it.
        """
        return importance + measured, values

    def kept_bytes(self) -> int:
        """Return the bytes of importances and anchors."""
        kept = (*self.importance.values(), *self.anchor.values())
        return sum(each.numel() * each.element_size() for each in kept)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return importances and anchors."""
        return {"importance": self.importance, "anchor": self.anchor, "offset": self.offset}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore importances and anchors."""
        self.importance, self.anchor, self.offset = dict(state["importance"]), dict(state["anchor"]), state["offset"]

    def _vector(self, parts: dict[str, Tensor]) -> Tensor:
        """Return parts of former sizes as one vector of the parameters' present size, padded with zeros."""
        return flat(_padded(parts[name], each) for name, each in self._penalized.items())


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that require a gradient, by name.

    >>> model = nn.Sequential(nn.Linear(2, 3).requires_grad_(False), nn.Linear(3, 1))
    >>> list(trained_parameters(model))
    ['1.weight', '1.bias']
    """
    return {name: each for name, each in model.named_parameters() if each.requires_grad}


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """Return tensors as one vector.

    >>> flat([torch.zeros(1, 2), torch.ones(1)])
    tensor([0., 0., 1.])
    """
    return torch.cat([each.flatten() for each in tensors])


def views(vector: Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Return the parts of a vector in the shapes of parameters, by name; they share its memory.

    >>> views(torch.arange(3.0), {"weight": nn.Parameter(torch.ones(1, 2)), "bias": nn.Parameter(torch.ones(1))})
    {'weight': tensor([[0., 1.]]), 'bias': tensor([2.])}
    """
    parts = vector.split([each.numel() for each in parameters.values()])
    return {name: part.view(each.shape) for (name, each), part in zip(parameters.items(), parts, strict=True)}


def mean_over_samples(
    strategy: MMCLTemplate,
    loss: Callable[[Tensor, Tensor], Tensor],
    size: Callable[[Tensor], Tensor],
    limit: int | None = None,
) -> dict[str, Tensor]:
    """Return the mean of ``size(gradient)`` over the samples of the experience, by name of the parameter.

    The gradient of each sample is computed alone, with the model in evaluation mode. With several processes, each takes
    a share of the samples.

    Args:
        strategy: the strategy, with the data and the model.
        loss: function from logits ``(1, classes)`` and label ``(1,)`` to the scalar that is differentiated.
        size: function from the gradient of a parameter to its size, in the same shape.
        limit: number of samples, evenly spaced over the experience; None for all.
    """
    rows = torch.tensor(rows_of(strategy.experience))
    if limit is not None and limit < len(rows):
        rows = rows[torch.arange(limit) * len(rows) // limit]
    parameters = trained_parameters(strategy.model)
    totals = {name: torch.zeros_like(each, requires_grad=False) for name, each in parameters.items()}
    loader = BatchLoader(strategy.experience.source, distributed.shard(rows), batch_size=1, shuffle=False)
    # cuDNN differentiates recurrent layers in training mode only.
    with torch.enable_grad(), head_only(strategy.model) as model, torch.backends.cudnn.flags(enabled=False):
        for batch in loader:
            batch = batch.to(strategy.device)
            value = loss(model(batch).logits, batch["label"])
            found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
            for total, gradient in zip(totals.values(), found, strict=True):
                if gradient is not None:
                    total += size(gradient)
    sum_over_processes(totals.values(), "importances")
    return {name: total / len(rows) for name, total in totals.items()}


@contextmanager
def head_only(model: nn.Module) -> Iterator[nn.Module]:
    """Context in which a model is in evaluation mode, and classifies by its head instead of a read-out."""
    was_training = model.training
    model.eval()
    try:
        with without_read_out(model):
            yield model
    finally:
        model.train(was_training)


def require_classifier(model: nn.Module, method: str) -> None:
    """Check that a model classifies, so that each sample has one vector of logits.

    Raises:
        ConfigError: the model has a decoder.
    """
    if hasattr(model, "teacher_forced"):
        raise ConfigError(
            f"{method} got a {type(model).__name__}, expected a classifier: set model to classifier, or use si"
        )


def _padded(part: Tensor, like: Tensor) -> Tensor:
    """Return a part in the shape of a parameter that has grown in its first dimension."""
    padded = torch.zeros_like(like, requires_grad=False)
    padded[: len(part)] = part.to(padded)
    return padded

"""SynapticIntelligence: a plugin that keeps parameters near their values if changing them lowered the loss (SI)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmcl import distributed
from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.strategies.importance import ImportancePenalty, flat, gradients
from mmcl.strategies.process_sums import sum_over_processes

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class SynapticIntelligence(ImportancePenalty):
    """Penalize changes of parameters by their part in lowering earlier losses (SI, Zenke et al. 2017).

    ``loss = cross-entropy + weight * sum_i O_i (theta_i - anchor_i)^2``, equation 4 of arXiv 1703.04200. ``O_i`` is the
    sum over experiences of ``w_i / (d_i^2 + damping)``, equation 5. ``d_i`` is the change of the parameter in the
    experience. ``w_i`` is the path integral of equation 3: the sum over steps of minus the gradient times the update.
    The gradient is that of the loss without the penalty, before clipping.

    Differs from the paper: negative ``w_i`` count as 0, because they would reward changes. Avalanche's
    ``SynapticIntelligencePlugin`` integrates the gradient of the loss with the penalty, caps importances at 0.001, and
    copies all parameters to the CPU twice a step.

    Args:
        weight: weight of the penalty, c in the paper; 0 turns it off.
        damping: added to the squared change, xi in the paper.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(self, weight: NonNegative = 1.0, *, damping: Positive = 0.1) -> None:
        if weight < 0 or damping <= 0:
            raise ConfigError(f"weight is {weight}, damping {damping}: expected weight >= 0 and damping > 0")
        super().__init__("si", weight)
        self.damping = damping
        self._within = False  # whether an experience has begun and not ended
        # Vectors (parameters,): parameters before the experience and before the step, gradient, and path integrals.
        self._start = self._before = self._gradient = self._path = self._path_of_epoch = torch.zeros(0)

    @torch.no_grad()
    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Start the path integral, unless an experience resumes."""
        super().before_training_exp(strategy, **kwargs)
        values = flat(self._trained.values())
        if not self._within:
            self._start, self._path, self._within = values, torch.zeros_like(values), True
        self._start, self._path = self._start.to(values), self._path.to(values)
        self._path_of_epoch = torch.zeros_like(values)

    @torch.no_grad()
    def before_update(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Keep the parameters, and the gradient without the penalty."""
        self._before, self._gradient = flat(self._trained.values()), gradients(self._trained.values())
        if self._flat is not None and distributed.is_main():  # gradients of all processes together have it once
            importance, anchor = self._flat
            self._gradient -= 2 * self.scale * importance * (self._before - anchor)

    @torch.no_grad()
    def after_update(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add this step to the path integral."""
        self._path_of_epoch -= self._gradient * (flat(self._trained.values()) - self._before)

    def after_training_epoch(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Sum the path integral over processes, so that it is saved whole."""
        sum_over_processes([self._path_of_epoch], "importances")
        self._path = self._path + self._path_of_epoch
        self._path_of_epoch = torch.zeros_like(self._path)

    def measure(self, strategy: MMCLTemplate) -> Tensor:
        """Return the path integral over the squared change, ``(parameters,)``."""
        change = flat(self._trained.values()) - self._start
        self._within = False
        return self._path.clamp(min=0) / (change.square() + self.damping)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return importances, anchors and, within an experience, its path integral so far."""
        path = {"start": self._start, "path": self._path} if self._within else {}
        return super().state_dict(strategy) | path

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore importances, anchors and the path integral."""
        super().load_state_dict(state, strategy)
        self._within = "start" in state
        self._start, self._path = state.get("start", torch.zeros(0)), state.get("path", torch.zeros(0))

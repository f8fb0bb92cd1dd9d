"""SynapticIntelligence: a plugin that keeps parameters near their values if changing them lowered the loss (SI)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmcl import distributed
from mmcl.config.numbers import NonNegative, Positive
from mmcl.errors import ConfigError
from mmcl.strategies.importance import ImportancePenalty, flat, views
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
        # Vectors (parameters,): parameters before the experience, and path integrals.
        self._start = self._path = self._path_of_epoch = torch.zeros(0)
        # By name, of parameters that have a gradient: value before the step, and gradient.
        self._before: dict[str, Tensor] = {}
        self._gradients: dict[str, Tensor] = {}

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
        """Keep the parameters, and their gradients without the penalty."""
        used = {name: each for name, each in self._trained.items() if each.grad is not None}
        self._before = {name: each.detach().clone() for name, each in used.items()}
        self._gradients = {name: each.grad.clone() for name, each in used.items() if each.grad is not None}
        if self._penalized and distributed.is_main():  # gradients of all processes together have it once
            importance, anchor = (views(each, self._penalized) for each in self._flat)
            for name in self._penalized.keys() & used.keys():
                change = self._before[name] - anchor[name]
                self._gradients[name] -= 2 * self.scale * importance[name] * change

    @torch.no_grad()
    def after_update(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add this step to the path integral."""
        path = views(self._path_of_epoch, self._trained)
        for name, gradient in self._gradients.items():
            path[name] -= gradient * (self._trained[name] - self._before[name])

    def after_training_epoch(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Sum the path integral over processes, so that it is saved whole."""
        sum_over_processes([self._path_of_epoch], "importances")
        self._path += self._path_of_epoch
        self._path_of_epoch.zero_()

    def measure(self, strategy: MMCLTemplate) -> dict[str, Tensor]:
        """Return the path integral over the squared change, by name of the parameter."""
        change = flat(self._trained.values()) - self._start
        self._within = False
        return views(self._path.clamp(min=0) / (change.square() + self.damping), self._trained)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return importances, anchors and, within an experience, its path integral so far."""
        path = {"start": self._start, "path": self._path} if self._within else {}
        return super().state_dict(strategy) | path

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore importances, anchors and the path integral."""
        super().load_state_dict(state, strategy)
        self._within = "start" in state
        self._start, self._path = (state.get(name, torch.zeros(0)).clone() for name in ("start", "path"))

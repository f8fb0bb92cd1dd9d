"""ObjectiveSum: several objectives as one, such as L1 and ConR."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from mmcl.errors import ConfigError
from mmcl.objectives.objective import Objective
from mmcl.objectives.temperature import weight_of


class ObjectiveSum(nn.Module):
    """A weighted sum of objectives, for :class:`~mmcl.training.contrastive.ContrastiveTrainer`.

    ::

        loss = sum_k weight_k loss_k

    Each term gets the inputs that it takes, see :func:`~mmcl.training.views.loss_of`. Parameters and state are those of
    the terms.

    Args:
        terms: the objectives.
        weights: weight of each, 0 or greater; None for 1.

    Attributes:
        takes: inputs of all terms, by name.

    Raises:
        ConfigError: there are no terms, or not one weight for each.
        InputError: a weight is negative or not finite.

    >>> from mmcl.objectives import ConRLoss, L1Loss
    >>> ObjectiveSum([L1Loss(), ConRLoss()], weights=[1.0, 4.0]).takes
    ('predictions', 'targets', 'features')
    """

    def __init__(self, terms: Sequence[Objective], weights: Sequence[float] | None = None) -> None:
        super().__init__()
        weights = [1.0] * len(terms) if weights is None else list(weights)
        if not terms or len(weights) != len(terms):
            raise ConfigError(f"there are {len(terms)} terms and {len(weights)} weights, expected one weight for each")
        for weight in weights:
            weight_of("weight of an objective", weight)
        self.terms, self.weights = nn.ModuleList(terms), weights

    def weighted_terms(self) -> list[tuple[float, Objective]]:
        """Return each objective with its weight."""
        terms = [term for term in self.terms if isinstance(term, Objective)]
        return list(zip(self.weights, terms, strict=True))

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs of all terms, by name."""
        return tuple(dict.fromkeys(name for _, term in self.weighted_terms() for name in term.takes))

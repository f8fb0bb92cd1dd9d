"""Inputs of objectives, by the names in ``Objective.takes``."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from mmcl.errors import ConfigError
from mmcl.objectives.memory import Queue, SampleNumbers
from mmcl.objectives.objective import Objective
from mmcl.objectives.objective_sum import ObjectiveSum


def objective_inputs(
    views: Sequence[Tensor], *, labels: Tensor | None = None, takes: Sequence[str], **available: Tensor | None
) -> dict[str, Tensor | None]:
    """Return the inputs of an objective, for :meth:`mmcl.objectives.Objective.of`.

    Args:
        views: embeddings of the same samples, ``(batch, dim)`` each, from several modalities or forward passes.
        labels: class of each sample, ``(batch,)``.
        takes: names of the inputs, from ``Objective.takes``.
        **available: further inputs by name, such as ``rows`` and ``is_rehearsal``. ``targets`` has one number per
            sample, ``is_support`` one flag per sample, and ``predictions`` one number per row of ``features``.

    >>> inputs = objective_inputs(
    ...     [torch.eye(2), torch.eye(2)], labels=torch.tensor([3, 4]), takes=("features", "labels")
    ... )
    >>> inputs["features"].shape, inputs["labels"]
    (torch.Size([4, 2]), tensor([3, 4, 3, 4]))
    """
    inputs: dict[str, Tensor | None] = {**available, "labels": labels}
    if len(views) == 2:
        inputs["a"], inputs["b"] = views
    if "views" in takes:
        inputs["views"] = torch.stack(list(views))
    if "features" in takes:
        inputs["features"] = torch.cat(list(views))
    if {"features", "predictions"} & set(takes):  # rows of all views, so entries of each sample are repeated
        for name in {"labels", "targets", "is_support"} & inputs.keys():
            each = inputs[name]
            inputs[name] = None if each is None else each.repeat(len(views))
    return inputs


def loss_of(
    objective: Objective | ObjectiveSum, views: Sequence[Tensor], negative_views: int = 0, **available: Tensor | None
) -> Tensor:
    """Return the loss of an objective, or the weighted sum of several.

    With more than two views, an objective of two sides is averaged over all pairs of views.

    Args:
        objective: the objective, or a sum of objectives.
        views: embeddings, as in :func:`objective_inputs`.
        negative_views: number of views, the last ones, that are hard negatives of the first.
        **available: further inputs by name, as in :func:`objective_inputs`.

    Raises:
        ConfigError: an objective takes an input that is not available, or cannot use hard negatives; or more than two
            views are given to an objective of two sides that keeps state between batches.
    """
    if negative_views:
        available["hard_negatives"] = torch.stack(list(views[-negative_views:]), dim=1)
        views = views[:-negative_views]
    if isinstance(objective, ObjectiveSum):
        losses = [weight * loss_of(term, views, 0, **available) for weight, term in objective.weighted_terms()]
        return torch.stack(losses).sum()
    if "hard_negatives" in available and "hard_negatives" not in objective.optional:
        raise ConfigError(f"{type(objective).__name__} takes no hard negatives: set views=2, or choose another, as mw")
    if "a" in objective.takes and len(views) > 2:
        if any(isinstance(module, Queue | SampleNumbers) for module in objective.modules()):
            raise ConfigError(f"{type(objective).__name__} takes two views, but there are {len(views)}: set views=2")
        return torch.stack([loss_of(objective, pair, 0, **available) for pair in combinations(views, 2)]).mean()
    return objective.of(objective_inputs(views, takes=objective.takes, **available))

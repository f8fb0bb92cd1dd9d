"""Training of a common and a salient encoder: both see the same views, and samples are targets or background."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmcl.data.attributes import attributes_of
from mmcl.data.paired import PairedDataset
from mmcl.errors import ConfigError, DataError, TrainingError

if TYPE_CHECKING:
    from mmcl.models.two_tower import TwoTower


def takes_salient(objective: object) -> bool:
    """Return whether an objective takes embeddings of a second, salient encoder.

    >>> from mmcl.objectives import NTXentLoss, SepCLRLoss
    >>> takes_salient(SepCLRLoss()), takes_salient(NTXentLoss())
    (True, False)
    """
    return "salient" in getattr(objective, "takes", ())


def with_salient(
    model: TwoTower, build: Callable[[], TwoTower], pairs: PairedDataset, objective: object
) -> tuple[TwoTower, PairedDataset]:
    """Return a model and samples with a side for the salient encoder, if the objective takes one.

    Args:
        model: model with one tower, the common encoder.
        build: function that returns another such model, with other weights; its tower becomes the salient encoder.
        pairs: samples with one side.
        objective: the objective.

    Raises:
        ConfigError: the model has two towers already.
    """
    if not takes_salient(objective):
        return model, pairs
    if model.second is not None:
        raise ConfigError(
            f"{type(objective).__name__} got two towers, expected one, to which it adds a salient one: use the task "
            "representation_learning, or second=null"
        )
    model.second = build().first
    return model, PairedDataset(pairs.first, pairs.first)


def target_flags(pairs: PairedDataset, objective: object) -> Tensor | None:
    """Return which samples are targets, ``(samples,)``; None for objectives without a salient encoder.

    Raises:
        ConfigError: the two sides are not the same samples.
        DataError: the samples have no ``is_target``, or all are targets or all background.
    """
    if not takes_salient(objective):
        return None
    if len(pairs.sides) != 2 or pairs.first is not pairs.second:
        raise ConfigError(
            f"{type(objective).__name__} got {len(pairs.sides)} sides, expected the same samples for the common and "
            "the salient tower: use PairedDataset(data, data)"
        )
    flags = attributes_of(pairs.first).is_target
    if flags is None:
        raise DataError(
            f"{type(objective).__name__} needs 'is_target', which the data lacks: use data that says which samples are "
            "targets, such as digits_on_pictures or digits_over_speech"
        )
    found = torch.tensor(list(flags), dtype=torch.bool)
    if found.all() or not found.any():
        raise DataError(f"{int(found.sum())} of {len(found)} samples are targets, expected targets and background")
    return found


def check_batch(is_target: Tensor | None, rows: Tensor) -> None:
    """Check that a batch has target and background samples; ``is_target`` is that of :func:`target_flags`.

    Raises:
        TrainingError: it has none of either.

    >>> check_batch(torch.tensor([True, False, False]), torch.tensor([2, 0]))
    """
    if is_target is None or 0 < (targets := int(is_target[rows].sum())) < len(rows):
        return
    raise TrainingError(
        f"a batch of {len(rows)} has {targets} target samples, expected targets and background: increase batch_size"
    )


def by_encoder(embeddings: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Split the embeddings of views by both encoders into common ones, and salient ones ``(views, batch, dim)``.

    >>> common, salient = by_encoder([torch.zeros(4, 8), torch.zeros(4, 3)] * 2)
    >>> [each.shape for each in common], salient.shape
    ([torch.Size([4, 8]), torch.Size([4, 8])], torch.Size([2, 4, 3]))
    """
    return list(embeddings[::2]), torch.stack(list(embeddings[1::2]))

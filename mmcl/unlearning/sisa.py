"""SISA: an ensemble with one model per data shard; only models of shards with forgotten samples are retrained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.batch import Batch
from mmcl.config.numbers import Count, NonNegative, Positive
from mmcl.data.selection import Selection
from mmcl.data.torch_dataset import Samples, as_dataset, same_source
from mmcl.errors import ConfigError, DataError
from mmcl.unlearning.loop import OnEpoch, checked_sets, origin
from mmcl.unlearning.parts import logits_for, reinitialized
from mmcl.unlearning.retraining import train_classifier


class ShardedEnsemble(nn.Module):
    """Ensemble of models trained on disjoint shards of the data.

    ``logits = log (1/S sum_s softmax(logits of model s))``, ``(batch, classes)``. :func:`train_sharded` trains one.

    Args:
        models: one model per shard.
        shards: training samples of each model.
        recipe: settings of :func:`~mmcl.unlearning.retraining.train_classifier` for every model.
    """

    def __init__(self, models: Sequence[nn.Module], shards: Sequence[Selection], recipe: dict[str, Any]) -> None:
        super().__init__()
        self.models, self.shards, self.recipe = nn.ModuleList(models), list(shards), recipe

    def forward(self, batch: Batch) -> Tensor:
        """Return the logits of the mean probabilities, ``(batch, classes)``."""
        log_probabilities = torch.stack([logits_for(model, batch).log_softmax(1) for model in self.models])
        return log_probabilities.logsumexp(0) - torch.tensor(float(len(self.models))).log()


def train_sharded(
    fresh: Callable[[], nn.Module],
    data: Samples,
    *,
    shards: Count = 5,
    groups: Sequence[str] | None = None,
    epochs: Count = 20,
    learning_rate: Positive = 1e-4,
    weight_decay: NonNegative = 1e-4,
    batch_size: Count = 32,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> ShardedEnsemble:
    """Split the data into shards at random, and train one model on each.

    SISA, Bourtoule et al., arXiv 1912.03817. Differs from the paper: a shard is one slice, so retraining starts from
    scratch; and class probabilities are averaged instead of counting votes.

    Args:
        fresh: function that returns an untrained model.
        data: samples to split into shards.
        shards: number of shards in sisa, each with its own model.
        groups: group of each sample, such as its speaker. Samples of a group share a shard, so forgetting a speaker
            retrains one model.
        epochs: passes over each shard.
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        batch_size: samples per step.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        ConfigError: ``shards`` is below 1, or above the number of samples or groups.
        DataError: ``groups`` and ``data`` differ in length.
    """
    data = as_dataset(data)
    recipe = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "batch_size": batch_size,
        "device": device,
    }
    names = [str(row) for row in range(len(data))] if groups is None else list(groups)
    if len(names) != len(data):
        raise DataError(f"there are {len(names)} groups for {len(data)} samples, expected one for each")
    known = sorted(set(names))
    if not 1 <= shards <= len(known):
        raise ConfigError(f"shards is {shards}, expected 1 to {len(known)}, the number of samples or groups")
    order = torch.randperm(len(known)).tolist()
    shard_of = {known[each]: number % shards for number, each in enumerate(order)}
    split = [
        Selection(data, [row for row, name in enumerate(names) if shard_of[name] == shard]) for shard in range(shards)
    ]
    models = [_trained(fresh(), shard, number, recipe, on_epoch) for number, shard in enumerate(split, start=1)]
    return ShardedEnsemble(models, split, recipe).eval()


def sisa(
    model: nn.Module,
    remain: Samples,
    forget: Samples,
    *,
    fresh: Callable[[], nn.Module] | None = None,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> ShardedEnsemble:
    """Return a copy of a :class:`ShardedEnsemble` with the models retrained that were trained on samples of ``forget``.

    Unlearning is exact: the retrained models never see these samples. It takes the training time of the shards
    concerned, which is that of Retrain if all are. A shard without remaining samples is left out. ``remain`` is only
    checked for overlap with ``forget``.

    Args:
        model: ensemble trained by :func:`train_sharded`.
        remain: samples to keep.
        forget: samples to forget, a selection of the training data.
        fresh: function that returns an untrained model; None reinitializes a copy of the shard's model.
        device: device that the model is trained on.
        on_epoch: called after each epoch with phase, epoch (from 1) and mean loss.

    Raises:
        ConfigError: ``model`` is not a sharded ensemble.
        DataError: a data set is empty, a sample is in both, nothing remains, or ``forget`` is not a selection of the
            training data.
        TrainingError: a loss is not finite.
    """
    remain, forget = checked_sets(remain, forget)
    if not isinstance(model, ShardedEnsemble):
        raise ConfigError(
            f"sisa got a {type(model).__name__}, expected a ShardedEnsemble: train one with "
            "mmcl.unlearning.train_sharded"
        )
    source, forget_rows = origin(forget)
    if any(not same_source(origin(shard)[0], source) for shard in model.shards):
        raise DataError(
            "the samples to forget are not of the data set of the shards: pass a Selection of that data set"
        )
    forgotten = set(forget_rows)
    models, shards = [], []
    for number, (old, shard) in enumerate(zip(model.models, model.shards, strict=True), start=1):
        rows = [row for row, source_row in enumerate(origin(shard)[1]) if source_row not in forgotten]
        if len(rows) == len(shard):
            models.append(deepcopy(old))
            shards.append(shard)
        elif rows:
            remaining = Selection(shard.source, [shard.rows[row] for row in rows])
            new = reinitialized(old) if fresh is None else fresh()
            models.append(_trained(new, remaining, number, {**model.recipe, "device": device}, on_epoch))
            shards.append(remaining)
    if not shards:
        raise DataError("all samples of all shards are to be forgotten, expected some to remain")
    return ShardedEnsemble(models, shards, model.recipe).eval()


def _trained(
    model: nn.Module, shard: Selection, number: int, recipe: dict[str, Any], on_epoch: OnEpoch | None
) -> nn.Module:
    return train_classifier(model, shard, **recipe, phase=f"training on shard {number}", on_epoch=on_epoch)

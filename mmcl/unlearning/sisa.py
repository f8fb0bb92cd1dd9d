"""SISA: a model for each shard of the data, of which only those are trained anew that saw what is to be forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.batch import Batch
from mmcl.config.numbers import Count
from mmcl.data.base import Dataset
from mmcl.data.selection import Selection
from mmcl.errors import ConfigError, DataError
from mmcl.unlearning.loop import OnEpoch, check_apart, origin
from mmcl.unlearning.parts import logits_of, reinitialized
from mmcl.unlearning.retraining import train_classifier


class ShardedEnsemble(nn.Module):
    """Models that learnt a part of the data each, and answer together.

    ``logits = log (1/S sum_s softmax(logits of model s))``, ``(batch, classes)``. Made by :func:`train_sharded`.

    Attributes:
        models: one for each shard.
        shards: the samples that each of them was trained on.
        recipe: how; settings of :func:`~mmcl.unlearning.retraining.train_classifier`.
    """

    def __init__(self, models: Sequence[nn.Module], shards: Sequence[Selection], recipe: dict[str, Any]) -> None:
        super().__init__()
        self.models, self.shards, self.recipe = nn.ModuleList(models), list(shards), recipe

    def forward(self, batch: Batch) -> Tensor:
        answers = torch.stack([logits_of(model(batch)).log_softmax(1) for model in self.models])
        return answers.logsumexp(0) - torch.tensor(float(len(answers))).log()


def train_sharded(
    fresh: Callable[[], nn.Module],
    data: Dataset,
    *,
    shards: Count = 5,
    groups: Sequence[str] | None = None,
    on_epoch: OnEpoch | None = None,
    **recipe: Any,
) -> ShardedEnsemble:
    """Train a model for each shard of the data.

    SISA, Bourtoule et al., arXiv 1912.03817. Differs from the paper: a shard is one slice, so that a model begins from
    scratch, and answers are averaged where the paper counts votes.

    Args:
        fresh: function that returns an untrained model.
        data: samples to split into shards at random.
        shards: number of shards, each with a model of its own in sisa.
        groups: one name per sample, such as its speaker; samples of one name stay in one shard, so that forgetting
            a speaker retrains one model.
        on_epoch: called with phase, epoch and mean loss after each epoch.
        **recipe: settings of :func:`~mmcl.unlearning.retraining.train_classifier`.

    Raises:
        ConfigError: fewer than 1 shard, or more than there are samples or names.
    """
    names = [str(row) for row in range(len(data))] if groups is None else list(groups)
    if len(names) != len(data):
        raise DataError(f"there are {len(names)} groups for {len(data)} samples, expected one for each")
    known = sorted(set(names))
    if not 1 <= shards <= len(known):
        raise ConfigError(f"shards is {shards}, expected 1 to {len(known)}, as many as can be told apart")
    order = torch.randperm(len(known)).tolist()
    place = {known[each]: number % shards for number, each in enumerate(order)}
    parts = [Selection(data, [row for row, name in enumerate(names) if place[name] == part]) for part in range(shards)]
    models = [_trained(fresh(), part, number, recipe, on_epoch) for number, part in enumerate(parts, start=1)]
    return ShardedEnsemble(models, parts, recipe).eval()


def sisa(
    model: nn.Module,
    remain: Dataset,
    forget: Dataset,
    *,
    fresh: Callable[[], nn.Module] | None = None,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch | None = None,
) -> ShardedEnsemble:
    """Return a copy of a :class:`ShardedEnsemble` whose models of shards with samples of ``forget`` are trained anew.

    What comes out never saw them: exact, in the time of those shards, which where they are in all is that of Retrain.
    A shard of which nothing remains is left out. ``remain`` is not read.

    Args:
        model: of :func:`train_sharded`.
        remain: what is to be kept.
        forget: what is to be forgotten, of the data that it was trained on.
        fresh: makes an untrained model, in place of drawing the parameters of each anew.
        device: where to compute.
        on_epoch: called with phase, epoch and loss.

    Raises:
        ConfigError: a model that was not trained in shards.
        DataError: a set is empty, a sample is in both, nothing would remain, or ``forget`` is of other data.
        TrainingError: a loss that is not finite.
    """
    check_apart(remain, forget)
    if not isinstance(model, ShardedEnsemble):
        raise ConfigError(
            f"sisa was given a {type(model).__name__}, expected a model that was trained in shards: "
            "mmcl.unlearning.train_sharded makes one"
        )
    source, gone = origin(forget)
    if any(origin(shard)[0] is not source for shard in model.shards):
        raise DataError(
            "what sisa is to forget is of other data than the shards: give a Selection of the same data set"
        )
    forgotten = set(gone)
    models, shards = [], []
    for number, (old, shard) in enumerate(zip(model.models, model.shards, strict=True), start=1):
        rows = [row for row, of_source in enumerate(origin(shard)[1]) if of_source not in forgotten]
        if len(rows) == len(shard):
            models.append(deepcopy(old))
            shards.append(shard)
        elif rows:
            part = Selection(shard.source, [shard.rows[row] for row in rows])
            new = reinitialized(old) if fresh is None else fresh()
            models.append(_trained(new, part, number, {**model.recipe, "device": device}, on_epoch))
            shards.append(part)
    if not shards:
        raise DataError("all samples of all shards are to be forgotten, expected some to remain")
    return ShardedEnsemble(models, shards, model.recipe).eval()


def _trained(
    model: nn.Module, part: Selection, number: int, recipe: dict[str, Any], on_epoch: OnEpoch | None
) -> nn.Module:
    return train_classifier(model, part, **recipe, phase=f"training on shard {number}", on_epoch=on_epoch)

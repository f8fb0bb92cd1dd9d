"""ContrastiveTrainer: the loop that trains two towers on pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.data.paired import PairedDataset
from mmcl.errors import CheckpointError, ConfigError, InputError
from mmcl.files.loading import (
    check_same,
    class_name,
    entry,
    load_optimizer,
    load_schedule,
    load_state,
    plain_state,
    snapshot,
)
from mmcl.freeze import trainable_state
from mmcl.models.gradient_cache import gradient_cached_backward
from mmcl.models.two_tower import TwoTower
from mmcl.objectives.objective import Objective
from mmcl.seeding import random_state, set_random_state
from mmcl.training.finite import samples, step_error

_WHAT = "the state of the trainer"
_TOGETHER = 128  # sequences that are embedded at once, and padded to the longest of them


class ContrastiveTrainer:
    """Train two towers on pairs; iterating trains an epoch at a time and yields its mean loss.

    ::

        for loss in (trainer := ContrastiveTrainer(model, pairs, CLIPLoss(), optimizer, epochs=10)):
            print(trainer.epoch, loss)

    A batch can be parted, which changes the memory that a step takes but not its gradient: see
    :func:`~mmcl.models.gradient_cache.gradient_cached_backward`. The last, smaller batch of an epoch is left out where
    it is not the only one: a contrast with few others is another one. Where several processes train
    (:mod:`mmcl.distributed`), each has its part of every batch, which the objective is to join (``gather=True``).

    Args:
        model: two towers, trained in place.
        pairs: what to train on.
        objective: an :class:`~mmcl.objectives.Objective`, which is given what it takes by name, or any function of two
            paired embeddings. Its state is saved with the rest; the optimizer must have its parameters.
        optimizer: of all parameters that are trained.
        epochs: passes over the pairs.
        batch_size: pairs that are compared with each other.
        micro_batch_size: pairs whose graph is held at a time; None for all of the batch.
        distinct_texts: an epoch has a random one of the samples of each text.
        scheduler: makes the schedule of an optimizer and a number of steps; None for constant rates.
        clip_norm: largest norm of the gradient; None for any.
        precision: ``"bf16-mixed"`` runs the towers in bfloat16 where that is safe (``torch.autocast``), which is faster
            on processors that have it; the objective and all parameters stay in 32 bits.
        device: where the towers are trained.

    Raises:
        ConfigError: sizes that are no sizes, or a batch of one pair.
        TrainingError: a loss that is not finite; says in which step, and which sample's inputs are not.
    """

    def __init__(
        self,
        model: TwoTower,
        pairs: PairedDataset,
        objective: Callable[[Tensor, Tensor], Tensor],
        optimizer: Optimizer,
        *,
        epochs: int = 10,
        batch_size: int = 256,
        micro_batch_size: int | None = None,
        distinct_texts: bool = False,
        scheduler: Callable[[Optimizer, int], LRScheduler] | None = None,
        clip_norm: float | None = None,
        precision: Literal["32", "bf16-mixed"] = "32",
        device: str | torch.device = "cpu",
    ) -> None:
        if epochs < 1 or batch_size < 2 or (micro_batch_size is not None and micro_batch_size < 1):
            raise ConfigError(
                f"epochs={epochs}, batch_size={batch_size}, micro_batch_size={micro_batch_size}: expected at least 1 "
                "epoch, 2 pairs to compare, and parts of 1 or more"
            )
        there = len(pairs.first_of_each_text()) if distinct_texts else len(pairs)
        if there < 2:
            raise ConfigError(f"there is {there} pair{' of a text of its own' * distinct_texts}, expected at least 2")
        self.model, self.pairs, self.objective, self.optimizer = model, pairs, objective, optimizer
        self.epochs, self.batch_size, self.micro_batch_size = epochs, batch_size, micro_batch_size
        self.distinct_texts, self.clip_norm, self.device = distinct_texts, clip_norm, torch.device(device)
        self.precision = precision
        self.epoch = 0
        sides = [digest_of(sample_digests(side)) for side in (pairs.first, pairs.second)]
        self._digest = " ".join(sides)
        self.steps = len(self._batches(pairs.shuffled(distinct=distinct_texts))) if scheduler else 0
        self._scheduler = None if scheduler is None else scheduler(optimizer, epochs * self.steps)
        self._module = objective if isinstance(objective, nn.Module) else None

    def __iter__(self) -> Iterator[float]:
        self.model.to(self.device)
        if self._module is not None:
            self._module.to(self.device)
        distributed.broadcast_parameters(self.model)
        while self.epoch < self.epochs:
            yield self._train_epoch()

    def _train_epoch(self) -> float:
        self.model.train()
        distributed.seed_ranks()
        order = distributed.broadcast_object(self.pairs.shuffled(distinct=self.distinct_texts))
        total, batches = 0.0, [distributed.shard(batch) for batch in self._batches(order)]
        for step, rows in enumerate(batches, start=1):
            self.optimizer.zero_grad()
            where = f"epoch {self.epoch + 1}, step {step} of {len(batches)}"
            # Weights that were cast where no graph is built, as gradient caching does first, must not be used again.
            try:
                with torch.autocast(
                    self.device.type, torch.bfloat16, self.precision == "bf16-mixed", cache_enabled=False
                ):
                    loss = distributed.all_reduce_sum(self._backward(rows).item())
            except InputError as error:
                raise step_error(str(error), where, self._samples(rows), InputError) from error
            if not math.isfinite(loss):
                raise step_error(f"the loss is {loss}", where, self._samples(rows))
            distributed.all_reduce_gradients(each for group in self.optimizer.param_groups for each in group["params"])
            if self.clip_norm is not None:
                nn.utils.clip_grad_norm_(self.model.parameters(), self.clip_norm)
            self.optimizer.step()
            if self._scheduler is not None:
                self._scheduler.step()
            total += loss
        self.epoch += 1
        return total / len(batches)

    def _batches(self, order: Tensor) -> list[Tensor]:
        batches = list(order.split(self.batch_size))
        return batches[:-1] if len(batches) > 1 and len(batches[-1]) < self.batch_size else batches

    def _backward(self, rows: Tensor) -> Tensor:
        towers = self.model.first, self.model.second
        together = len(rows)
        if self.pairs.lengths is not None:  # of parts that are nearly as long, little is padded
            rows, together = rows[self.pairs.lengths[rows].argsort(stable=True)], _TOGETHER
        if self.micro_batch_size is None or self.micro_batch_size >= len(rows):
            embedded = [self.model(*self._pair(part)) for part in rows.split(together)]
            loss = self._loss(rows, *(torch.cat(side) for side in zip(*embedded, strict=True)))
            loss.backward()
            return loss.detach()
        parts = [self._pair(part) for part in rows.split(self.micro_batch_size)]
        return gradient_cached_backward(partial(self._loss, rows), towers, parts)

    def _samples(self, rows: Tensor) -> Iterator[Any]:
        """Both sides of a batch, with the ids of their samples."""
        for side in (self.pairs.first, self.pairs.second):
            yield from samples(side, rows.tolist())

    def _loss(self, rows: Tensor, first: Tensor, second: Tensor) -> Tensor:
        a, b = first.float(), second.float()
        with torch.autocast(self.device.type, enabled=False):
            if not isinstance(self.objective, Objective):
                return self.objective(a, b)
            takes = self.objective.takes
            labels = self.pairs.labels[rows].to(a.device) if "labels" in takes else None
            available: dict[str, Tensor | None] = {"a": a, "b": b, "labels": labels, "rows": rows.to(a.device)}
            if "views" in takes:
                available["views"] = torch.stack([a, b])
            if "features" in takes:
                available["features"] = torch.cat([a, b])
                available["labels"] = None if labels is None else labels.repeat(2)
            return self.objective.of(available)

    def _pair(self, rows: Tensor) -> tuple[Batch, Batch]:
        with torch.autocast(self.device.type, enabled=False):  # what decodes a sample keeps 32 bits
            first, second = self.pairs.batch(rows)
        return first.to(self.device), second.to(self.device)

    def state_dict(self) -> dict[str, Any]:
        """Everything that training needs to go on from the end of this epoch, as tensors, numbers and strings."""
        return {
            "epoch": self.epoch,
            "samples": self._digest,
            "settings": self._settings(),
            "model": snapshot(trainable_state(self.model)),
            "objective": None if self._module is None else snapshot(self._module.state_dict()),
            "optimizer": snapshot(self.optimizer.state_dict()),
            "scheduler": None if self._scheduler is None else plain_state(self._scheduler),
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``.

        Raises:
            CheckpointError: the state is of another model, optimizer or schedule, of other settings or other pairs, or
                of a later epoch than the last.
        """
        epoch, random = entry(state, "epoch", _WHAT), entry(state, "random", _WHAT)
        if epoch > self.epochs:
            raise CheckpointError(f"{_WHAT} is of epoch {epoch}, expected {self.epochs} at most: train more epochs")
        if state.get("samples") not in (None, self._digest):
            raise CheckpointError(
                f"the {len(self.pairs)} pairs are not those that the state was made with: put the data back as they "
                "were, or start training again"
            )
        check_same(state.get("settings"), self._settings(), _WHAT)
        objective = state["objective"] if "objective" in state else _former(entry(state, "temperature", _WHAT))
        own = None if self._module is None else self._module.state_dict()
        if bool(objective) != bool(own):
            given, wanted = ("no", "some") if not objective else ("a", "none")
            raise CheckpointError(
                f"{_WHAT} has {given} state of the objective, expected {wanted}: use the same objective"
            )
        load_state(self.model, entry(state, "model", _WHAT), f"{_WHAT}: the model")
        if self._module is not None and own:
            load_state(self._module, objective, f"{_WHAT}: the objective")
        load_optimizer(self.optimizer, entry(state, "optimizer", _WHAT), f"{_WHAT}: the optimizer")
        load_schedule(self._scheduler, entry(state, "scheduler", _WHAT), _WHAT)
        set_random_state(random)
        self.epoch = epoch

    def _settings(self) -> dict[str, Any]:
        """What a state goes on with only where it is the same."""
        settings = {
            "pairs": len(self.pairs),
            "batch_size": self.batch_size,
            "distinct_texts": self.distinct_texts,
            "optimizer": class_name(self.optimizer),
            "schedule": class_name(self._scheduler),
        }
        return settings if self._scheduler is None else {**settings, "epochs": self.epochs}


def _former(temperature: Mapping[str, Any] | None) -> dict[str, Any]:
    """The state of an objective as version 0.1 wrote it: that of its temperature alone."""
    return {f"temperature.{name}": value for name, value in (temperature or {}).items()}

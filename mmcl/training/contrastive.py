"""ContrastiveTrainer: the training loop of two towers, on pairs or on views of one modality."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from mmcl import distributed
from mmcl.batch import Batch, moved
from mmcl.config.numbers import AtLeastTwo, Count, Probability
from mmcl.data.fingerprint import digest_of, sample_digests
from mmcl.data.paired import PairedDataset
from mmcl.errors import CheckpointError, ConfigError
from mmcl.files.loading import check_same, class_name, entry, load_state, snapshot
from mmcl.freeze import trainable_state
from mmcl.models.gradient_cache import gradient_cached_backward
from mmcl.models.momentum import MomentumEncoder
from mmcl.models.predicting_tower import PredictingTower, towers_of
from mmcl.models.tensor_towers import TensorTowers
from mmcl.models.two_tower import TwoTower
from mmcl.objectives.objective import Objective
from mmcl.objectives.objective_sum import ObjectiveSum
from mmcl.precision import Precision
from mmcl.seeding import random_state, set_random_state
from mmcl.training.finite import samples
from mmcl.training.salient import by_encoder, check_batch, target_flags
from mmcl.training.step import SchedulerMaker, TrainingStep
from mmcl.training.views import loss_of

Augmentation = Callable[[Batch], Batch]

_WHAT = "the state of the trainer"
_CHUNK = 128  # sequences that are padded and embedded together


class ContrastiveTrainer:
    """Train towers on pairs or views; each iteration trains an epoch and yields its mean loss.

    ::

        for loss in (trainer := ContrastiveTrainer(model, pairs, CLIPLoss(), optimizer, epochs=10)):
            print(trainer.epoch, loss)

    Gradient caching (``micro_batch_size``) lowers the memory of a step without changing its gradient, see
    :func:`~mmcl.models.gradient_cache.gradient_cached_backward`. An epoch's last batch is dropped if it is smaller
    than the others, because the loss depends on the number of negatives. With several processes
    (:mod:`mmcl.distributed`), each has a shard of every batch, and the objective needs ``gather=True``.

    Args:
        model: one or two towers, trained in place: a :class:`~mmcl.models.TwoTower`, or plain modules that take a
            tensor and return embeddings ``(batch, dim)``, one module or a list of two.
        pairs: samples with one side for each tower.
        objective: an :class:`~mmcl.objectives.Objective`, an :class:`~mmcl.objectives.ObjectiveSum`, or any function of
            two paired embeddings. Its state is saved; its parameters must be in the optimizer. ``predictions`` are
            those of the model's regressor, see :meth:`~mmcl.models.TwoTower.add_regressor`. If it takes ``salient``,
            the second tower is the salient encoder, and both sides are the same samples, which have ``is_target``.
        optimizer: optimizer of all trained parameters.
        epochs: passes over the pairs.
        batch_size: pairs that are compared with each other.
        micro_batch_size: pairs in memory at a time, with gradient caching; None for the whole batch.
        distinct_texts: train each epoch on one random sample of each text.
        views: forward passes of each sample through each tower; they differ by randomness such as dropout.
        augment: function from a batch to a random view of it, see :mod:`mmcl.data.augment`, or one for each view; None
            to leave batches as they are.
        momentum: weight of a momentum encoder, see :class:`~mmcl.models.momentum.MomentumEncoder`. It embeds all views
            but the first, without gradient. If the objective takes ``teacher``, both embed all views. None to embed all
            views by the tower.
        scheduler: function from an optimizer and a number of steps to a learning rate schedule; None for constant
            rates.
        clip_norm: largest norm of the gradient; None for no clipping.
        precision: precision of the towers; ``"bf16-mixed"`` is ``torch.autocast`` to bfloat16, and ``"auto"`` uses it
            on devices that compute in bfloat16. Parameters stay in float32. So does an objective, except for the
            products of an :class:`~mmcl.objectives.Objective` on a GPU.
        device: device that the towers are trained on.

    Raises:
        ConfigError: a size is too small, there are fewer than two pairs to compare, or the number of towers and views
            does not give two embeddings per sample.
        DataError: the objective takes ``is_target``, and the samples lack it or are all of one kind.
        TrainingError: a loss is not finite; names the step, and a sample that is not finite. On a GPU, it is raised
            within 32 steps, and before the epoch ends. Or a batch lacks target or background samples.
    """

    def __init__(
        self,
        model: TwoTower | nn.Module | Sequence[nn.Module],
        pairs: PairedDataset,
        objective: Callable[..., Tensor],
        optimizer: Optimizer,
        *,
        epochs: Count = 10,
        batch_size: AtLeastTwo = 256,
        micro_batch_size: Count | None = None,
        distinct_texts: bool = False,
        views: Count = 1,
        augment: Augmentation | Sequence[Augmentation] | None = None,
        momentum: Probability | None = None,
        scheduler: SchedulerMaker | None = None,
        clip_norm: float | None = None,
        precision: Precision = "32",
        device: str | torch.device = "cpu",
    ) -> None:
        model = model if isinstance(model, TwoTower) else TensorTowers(model)
        if len(model.towers) != len(pairs.sides) or len(model.towers) * views < 2:
            raise ConfigError(
                f"{len(model.towers)} towers, {len(pairs.sides)} sides, views={views}: expected a tower for each side "
                "and at least 2 embeddings per sample; with one side, set views to 2"
            )
        augments = list(augment) if isinstance(augment, Sequence) else [augment] * views
        if len(augments) != views:
            raise ConfigError(f"there are {len(augments)} augmentations for views={views}, expected one for each view")
        if momentum is not None and (len(model.towers) > 1 or views < 2 or micro_batch_size is not None):
            raise ConfigError(
                f"momentum={momentum} with {len(model.towers)} towers, views={views} and "
                f"micro_batch_size={micro_batch_size}: expected one tower, 2 views or more, and no micro_batch_size"
            )
        self._takes_teacher = "teacher" in getattr(objective, "takes", ())
        if self._takes_teacher and momentum is None:
            raise ConfigError(f"{class_name(objective)} needs a teacher: set momentum, such as momentum=0.99")
        if epochs < 1 or batch_size < 2 or (micro_batch_size is not None and micro_batch_size < 1):
            raise ConfigError(
                f"epochs={epochs}, batch_size={batch_size}, micro_batch_size={micro_batch_size}: expected epochs >= 1, "
                "batch_size >= 2 and micro_batch_size >= 1"
            )
        count = len(pairs.first_of_each_text()) if distinct_texts else len(pairs)
        if count < 2:
            raise ConfigError(f"there is {count} pair{' with a distinct text' * distinct_texts}, expected at least 2")
        self.model, self.pairs, self.objective, self.optimizer = model, pairs, objective, optimizer
        self.epochs, self.batch_size, self.micro_batch_size = epochs, batch_size, micro_batch_size
        self.distinct_texts, self.views, self.device = distinct_texts, views, torch.device(device)
        self._augments, self._is_target = augments, target_flags(pairs, objective)
        self._towers = towers_of(model, getattr(objective, "takes", ()))
        self._average = None if momentum is None else MomentumEncoder(self._towers[0], momentum)
        self._step = TrainingStep(optimizer, clip_norm=clip_norm, precision=precision, device=device)
        self.epoch = 0
        sides = [digest_of(sample_digests(side)) for side in pairs.sides]
        self._digest = " ".join(sides)
        # Drawn even without a schedule, so that runs of one seed see the same batches with any schedule.
        self.steps = len(pairs.batches(batch_size, distinct=distinct_texts))
        if scheduler is not None:
            self._step.scheduler = scheduler(optimizer, epochs * self.steps)
        self._module = objective if isinstance(objective, nn.Module) else None

    def __iter__(self) -> Iterator[float]:
        self._move()
        distributed.broadcast_parameters(self.model)
        if self._average is not None and self.epoch == 0:
            self._average.average.load_state_dict(self._towers[0].state_dict())
        while self.epoch < self.epochs:
            yield self._train_epoch()

    def _move(self) -> None:
        for module in (self.model, self._module, self._average):
            if module is not None:
                module.to(self.device)

    def _train_epoch(self) -> float:
        self.model.train()
        distributed.seed_ranks()
        drawn = distributed.broadcast_object(self.pairs.batches(self.batch_size, distinct=self.distinct_texts))
        self._step.reset()
        for batch in drawn:
            check_batch(self._is_target, batch)
        batches = [distributed.shard(batch) for batch in drawn]
        for number, rows in enumerate(batches, start=1):
            where = partial("epoch {}, step {} of {}".format, self.epoch + 1, number, len(batches))
            with self._step.located(where, partial(self._samples, rows)):
                with self._step.autocast():
                    loss = self._backward(rows)
                self._step.check(loss)
            self._step.update(self.model.parameters())
            if self._average is not None:
                self._average.update(self._towers[0])
        self.epoch += 1
        return self._step.means()["loss"]

    def _backward(self, rows: Tensor) -> Tensor:
        towers: list[nn.Module] = self._towers * self.views
        if self._average is not None:
            tower, *_ = towers
            students, keys = (self.views, self.views) if self._takes_teacher else (1, self.views - 1)
            towers = [tower] * students + [self._average] * keys
        chunk = len(rows)
        if self.pairs.lengths is not None:  # chunks of similar length need little padding
            rows, chunk = rows[self.pairs.lengths[rows].argsort(stable=True)], _CHUNK
        if self.micro_batch_size is None or self.micro_batch_size >= len(rows):
            embedded = [
                [tower(batch) for tower, batch in zip(towers, cycle(self._inputs(part)), strict=False)]
                for part in rows.split(chunk)
            ]
            loss = self._loss(rows, *(torch.cat(side) for side in zip(*embedded, strict=True)))
            loss.backward()
            return loss.detach()
        parts = [self._inputs(part) for part in rows.split(self.micro_batch_size)]
        return gradient_cached_backward(partial(self._loss, rows), towers, parts)

    def _samples(self, rows: Tensor) -> Iterator[Any]:
        """Yield all sides of a batch, with the ids of their samples."""
        for side in self.pairs.sides:
            yield from samples(side, self.pairs.samples_of(rows).tolist())

    def _loss(self, rows: Tensor, *embeddings: Tensor) -> Tensor:
        if not isinstance(self.objective, Objective | ObjectiveSum):
            with torch.autocast(self.device.type, enabled=False):
                return self.objective(*(embedding.float() for embedding in embeddings))
        device, takes, pairs = embeddings[0].device, self.objective.takes, self.pairs
        known = {"labels": pairs.labels, "targets": pairs.targets, "bags": pairs.bags, "is_support": pairs.is_support}
        available = {
            name: moved(each[rows], device) for name, each in known.items() if each is not None and name in takes
        }
        if self._takes_teacher:
            embeddings, teacher = embeddings[: self.views], embeddings[self.views :]
            available["teacher"] = torch.cat(teacher)
        with self._step.objective_autocast():
            halves = torch.is_autocast_enabled(device.type)
            views = [embedding if halves else embedding.float() for embedding in embeddings]
            if isinstance(self._towers[0], PredictingTower):
                available["predictions"] = torch.cat([view[:, -1] for view in views])
                views = [view[:, :-1] for view in views]
            if self._is_target is not None:
                views, available["salient"] = by_encoder(views)
                available["is_target"] = moved(self._is_target[rows], device)
            samples = moved(self.pairs.samples_of(rows), device)
            return loss_of(self.objective, views, self.pairs.negative_views, rows=samples, **available)

    def _inputs(self, rows: Tensor) -> tuple[Batch, ...]:
        with torch.autocast(self.device.type, enabled=False):  # decoding stays in float32
            sides = [batch.to(self.device) for batch in self.pairs.batch(rows)]
            if self._is_target is not None:  # both towers see the same view
                views = [sides[0] if augment is None else augment(sides[0]) for augment in self._augments]
                return tuple(view for view in views for _ in sides)
            return tuple(side if augment is None else augment(side) for augment in self._augments for side in sides)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that resumes training after this epoch, as tensors, numbers and strings."""
        return {
            "epoch": self.epoch,
            "samples": self._digest,
            "settings": self._settings(),
            "model": snapshot(trainable_state(self.model)),
            "objective": None if self._module is None else snapshot(self._module.state_dict()),
            **({} if self._average is None else {"average": snapshot(self._average.state_dict())}),
            **self._step.state_dict(),
            "random": random_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state, to resume after its epoch.

        Raises:
            CheckpointError: the state belongs to another model, optimizer or schedule, to other settings or pairs, or
                to an epoch beyond ``epochs``.
        """
        self._move()  # first, because the optimizer's state goes where its parameters are
        epoch, random = entry(state, "epoch", _WHAT), entry(state, "random", _WHAT)
        if epoch > self.epochs:
            raise CheckpointError(f"{_WHAT} is from epoch {epoch}, expected at most {self.epochs}: increase epochs")
        if state.get("samples") not in (None, self._digest):
            raise CheckpointError(
                f"the {len(self.pairs)} pairs differ from those that the state was saved with: restore the data, or "
                "start training again"
            )
        check_same(state.get("settings"), self._settings(), _WHAT)
        if "objective" not in state:  # version 0.1 saved the temperature alone
            temperature = entry(state, "temperature", _WHAT) or {}
            state = {**state, "objective": {f"temperature.{name}": value for name, value in temperature.items()}}
        objective = state["objective"]
        own = None if self._module is None else self._module.state_dict()
        if bool(objective) != bool(own):
            found = "a" if objective else "no"
            raise CheckpointError(
                f"{_WHAT} has {found} state of the objective, unlike this one: use the same objective"
            )
        load_state(self.model, entry(state, "model", _WHAT), f"{_WHAT}: the model")
        if self._module is not None and own:
            load_state(self._module, objective, f"{_WHAT}: the objective")
        if self._average is not None:
            load_state(self._average, entry(state, "average", _WHAT), f"{_WHAT}: the momentum encoder")
        self._step.load_state_dict(state, _WHAT)
        set_random_state(random)
        self.epoch = epoch

    def _settings(self) -> dict[str, Any]:
        """Settings that must be equal to resume a state."""
        settings: dict[str, Any] = {
            "pairs": len(self.pairs),
            "batch_size": self.batch_size,
            "distinct_texts": self.distinct_texts,
            "views": self.views,
            "optimizer": class_name(self.optimizer),
            "schedule": class_name(self._step.scheduler),
            **({} if self._average is None else {"momentum": self._average.momentum}),
        }
        return settings if self._step.scheduler is None else {**settings, "epochs": self.epochs}

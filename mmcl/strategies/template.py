"""The training loop: the one subclass of Avalanche's template, which feeds named batches and can be resumed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates.base_sgd import PeriodicEval
from torch import Tensor, nn
from torch.optim import Optimizer

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.config.numbers import Count, Positive, Size
from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.selection import sample_ids
from mmcl.errors import DataError, LabelError, StreamError
from mmcl.precision import Precision
from mmcl.seeding import random_state, set_random_state
from mmcl.strategies.loader import BatchLoader
from mmcl.strategies.resuming import Resumable
from mmcl.strategies.teacher import with_teacher
from mmcl.training.step import SchedulerMaker, TrainingStep


class MMCLTemplate(Resumable):
    """Avalanche's supervised template over named batches.

    Use it as any Avalanche strategy, with a benchmark of :func:`mmcl.data.class_incremental`::

        for experience in benchmark.train_stream:
            strategy.train(experience)

    Plugins read ``strategy.mbatch`` (a :class:`~mmcl.batch.Batch`), ``strategy.output`` (the model's output) and
    ``strategy.mb_output`` (its logits). They add a loss term by :meth:`add_loss` in ``before_backward``, and samples by
    :meth:`rehearse` in ``after_train_dataset_adaptation``. A plugin with a method ``parameters()`` has them trained.
    Saving and resuming: see :class:`~mmcl.strategies.resuming.Resumable`.

    Args:
        model: takes a batch, returns an object with ``logits`` ``(batch, classes)``; or, in training, with ``logits``
            ``(batch, steps, tokens)`` and ``targets`` ``(batch, steps)``. Each experience begins with ``grow(labels)``.
        optimizer: reset at each experience; parameters that the model grows join its last group.
        epochs: passes over each experience.
        batch_size: samples per step.
        eval_batch_size: samples per step in evaluation.
        scheduler: function from the optimizer and an experience's number of steps to a learning rate schedule.
        clip_norm: largest norm of the gradient; None for no clipping.
        plugins: Avalanche plugins, called in this order.
        evaluator: Avalanche's metrics and loggers; None for none.
        device: where the model is trained.
        workers: processes that load samples, for data that is not in memory.
        bucket: batches whose samples are sorted by length together, to reduce padding; 1 for none.
        precision: precision of the forward pass, see :mod:`mmcl.precision`; losses and weights stay in float32.

    Raises:
        TrainingError: the loss is not finite; names experience, epoch and step, and a sample that is not finite.
        CheckpointError: a loaded state is of another model, other plugins, or another experience.
        LabelError: the model's head lacks a label.
        StreamError: an experience is empty, or not of :func:`~mmcl.data.class_incremental`.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        epochs: Count = 1,
        batch_size: Count = 32,
        eval_batch_size: Count = 256,
        scheduler: SchedulerMaker | None = None,
        clip_norm: Positive | None = None,
        plugins: Sequence[SupervisedPlugin] = (),
        evaluator: EvaluationPlugin | None = None,
        device: str | torch.device = "cpu",
        workers: Size = 0,
        bucket: Count = 1,
        precision: Precision = "32",
    ) -> None:
        super().__init__(
            model=model,
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=batch_size,
            train_epochs=epochs,
            eval_mb_size=eval_batch_size,
            device=device,
            plugins=with_teacher(plugins),
            evaluator=evaluator or _no_evaluator(),
        )
        # Both are asked at every hook of every step, where there is nothing to measure or to evaluate.
        idle = [plugin for plugin in self.plugins if isinstance(plugin, PeriodicEval)]
        for plugin in [*idle, *([self.evaluator] if evaluator is None else [])]:
            self.plugins.remove(plugin)
        self.mbatch: Batch
        self.loss: Tensor
        self.training_step = TrainingStep(optimizer, clip_norm=clip_norm, precision=precision, device=self.device)
        self.workers, self.bucket = workers, bucket
        self.output: Any = None
        self.losses: dict[str, float] = {}
        self.epoch = 0
        self._unchecked = True  # whether the head is wide enough for the experience
        self._make_scheduler = scheduler
        self._add_parameters_of_plugins()
        self._initial_rates = [group["lr"] for group in optimizer.param_groups]
        self.schedule_steps = 0
        self._rehearsed = torch.empty(0, dtype=torch.long)

    # Named batches

    @property
    def mb_x(self) -> Batch:
        """The current batch, all of it."""
        return self.mbatch

    @property
    def mb_y(self) -> Tensor:
        """Labels of the current batch, ``(batch,)``."""
        return self.mbatch["label"]

    @property
    def mb_task_id(self) -> Tensor:
        """0 for every sample: a class-incremental model is not told the task."""
        return torch.zeros_like(self.mb_y)

    def _unpack_minibatch(self) -> None:
        if self.device.type != "cpu":
            self.mbatch = self.mbatch.to(self.device)

    def forward(self) -> Tensor:
        """Return the logits of the current batch, ``(batch, classes)``."""
        self.output = self.training_step.forward(self.model, self.mbatch)
        return self.output.logits

    # Data of an experience

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Take the experience's data, and forget what was rehearsed in the one before."""
        if not hasattr(self.experience, "source"):
            raise StreamError("the experience has no 'source': make the benchmark with mmcl.data.class_incremental")
        super().train_dataset_adaptation(**kwargs)
        if len(self.adapted_dataset) == 0:
            number = self.experience.current_experience
            raise StreamError(f"experience {number} has 0 samples, expected at least 1: check the data set's labels")
        self._rehearsed = torch.empty(0, dtype=torch.long)

    def rehearse(self, rows: Sequence[int]) -> None:
        """Train on these rows of the data set beside those of the experience."""
        self._rehearsed = torch.cat(
            [self._rehearsed, torch.tensor(whole_numbers(rows, "rows", error=DataError), dtype=torch.long)]
        )

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Shuffle the experience's samples and the rehearsed ones together."""
        new = torch.tensor(self.adapted_dataset.rows[:], dtype=torch.long)
        rows = torch.cat([new, self._rehearsed])
        is_rehearsal = torch.arange(len(rows)) >= len(new)
        self.dataloader = self._load(rows, is_rehearsal=is_rehearsal, batch_size=self.train_mb_size)

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Read the experience in its own order, or with buckets by length."""
        rows = torch.tensor(self.adapted_dataset.rows[:], dtype=torch.long)
        self.dataloader = self._load(rows, batch_size=self.eval_mb_size, shuffle=False)

    def _load(self, rows: Tensor, **settings: Any) -> BatchLoader:
        settings |= {"workers": self.workers, "bucket": self.bucket, "parted": True}
        return BatchLoader(self.experience.source, rows, **settings)

    def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
        """Open the head for the classes of the experience, in training only."""
        model = self.model if model is None else model
        if self.is_training:
            grow: Any = getattr(model, "grow", None)
            if grow is not None:
                grow(self.experience.group)
            else:
                super().model_adaptation(model)
        return model.to(self.device)

    def make_optimizer(self, **kwargs: Any) -> None:
        """Start the optimizer anew on the parameters that the model has now."""
        trained = [*self.model.parameters(), *self._parameters_of_plugins()]
        current = {id(parameter): parameter for parameter in trained if parameter.requires_grad}
        for group in self.optimizer.param_groups:
            group["params"] = [current.pop(id(parameter)) for parameter in group["params"] if id(parameter) in current]
        self.optimizer.param_groups[-1]["params"].extend(current.values())
        self.optimizer.state.clear()
        for group, rate in zip(self.optimizer.param_groups, self._initial_rates, strict=True):
            group.pop("initial_lr", None)
            group["lr"] = rate
        self.training_step.optimizer = self.optimizer
        if self._make_scheduler is not None:
            self.schedule_steps = self.train_epochs * len(self.dataloader)
            self.training_step.scheduler = self._make_scheduler(self.optimizer, self.schedule_steps)

    def _parameters_of_plugins(self) -> list[nn.Parameter]:
        owners: list[Any] = [plugin for plugin in self.plugins if hasattr(plugin, "parameters")]
        return [parameter for owner in owners for parameter in owner.parameters()]

    def _add_parameters_of_plugins(self) -> None:
        known = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        if added := [each for each in self._parameters_of_plugins() if id(each) not in known]:
            self.optimizer.add_param_group({"params": added, "weight_decay": 0.0})
            groups = self.optimizer.param_groups  # the last group receives what the model grows
            groups.insert(0, groups.pop())

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Adapt model and optimizer to the experience."""
        self.model = self.model_adaptation()
        distributed.broadcast_parameters(self.model)  # what it has grown was drawn at random
        self.make_optimizer()

    # The loop

    def _before_eval(self, **kwargs: Any) -> None:
        self._before_evaluation = random_state()  # of which a DataLoader takes a number
        super()._before_eval(**kwargs)

    def _after_eval(self, **kwargs: Any) -> None:
        super()._after_eval(**kwargs)
        set_random_state(self._before_evaluation)  # training goes on as if nothing had been evaluated

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        self.epoch, self._unchecked = 0, True
        self._take_up_training()
        while self.epoch < self.train_epochs and not self._stop_training:
            self.model.train()  # what was done before may have left a part of it in evaluation mode
            self._before_training_epoch(**kwargs)
            self.training_step.reset()
            self.losses = self.training_step.losses
            distributed.seed_ranks()
            with self.training_step.located(self._where, lambda: [(self.mbatch, self._sample_id)]):
                self.training_epoch(**kwargs)
            self.losses = self.training_step.means()
            self.epoch += 1
            self.resumable = True
            self._after_training_epoch(**kwargs)
            self.resumable = False

    def _where(self) -> str:
        step = self.clock.train_epoch_iterations + 1
        return f"experience {self.number}, epoch {self.epoch + 1}, step {step}"

    def _sample_id(self, row: int) -> str:
        return sample_ids(self.experience.source, [int(self.mbatch["rows"][row])])[0]

    def add_loss(
        self, name: str, value: Tensor, weight: float = 1.0, *, count: int | None = None, joined: bool = False
    ) -> None:
        """Add ``weight * value`` to the loss of this step; ``losses[name]`` is the mean of ``value`` over the epoch.

        Where several processes train, all add the term: the mean over ``count`` things of theirs, which may be 0, by
        default over their samples; or, ``joined``, their share, as objectives with ``gather=True`` give it.
        """
        value = value * (1.0 if joined else self._share(count))
        self.loss = self.loss + weight * value
        self.training_step.note(name, value.item())

    @property
    def rehearses(self) -> bool:
        """Whether the current batch has samples from the memory, in this process or another."""
        return bool(self.dataloader.whole.any())

    def _share(self, count: int | None = None) -> float:
        """What a mean over ``count`` things, or the samples of the batch, has of that over those of all processes."""
        if distributed.world_size() == 1 or not self.is_training:
            return 1.0
        if count is None:
            return len(self.mb_y) / len(self.dataloader.whole)
        return count / max(distributed.all_reduce_sum(count), 1)

    def criterion(self) -> Tensor:
        """Return the cross-entropy of the current batch: of its tokens where the output has ``targets``, else of its
        labels; in evaluation, of the samples whose class has arrived."""
        logits, labels, count = self.mb_output, self.mb_y, None
        targets = getattr(self.output, "targets", None)
        if targets is not None:  # a sequence, of which each token is a choice
            logits, labels = logits.flatten(0, 1), targets.flatten()
            count = int((labels != self._criterion.ignore_index).sum())
        elif not self.is_training:
            known = labels < logits.shape[1]
            known[known.clone()] &= logits[known, labels[known]].isfinite()
            return self._criterion(logits[known], labels[known]) if bool(known.any()) else self._make_empty_loss()
        elif self._unchecked:
            self._unchecked = False
            largest = max(self.experience.classes_seen_so_far)
            if logits.shape[1] <= largest:
                raise LabelError(
                    f"experience {self.experience.current_experience} has label {largest}, but the model's head has "
                    f"{logits.shape[1]} classes: give the head more, or the model a grow(labels)"
                )
        loss = self._criterion(logits, labels) * self._share(count)
        if self.is_training:
            self.training_step.note("cross_entropy", loss.item())
        return loss

    def backward(self) -> None:
        """Compute gradients of a finite loss."""
        self.training_step.backward(self.loss, terms=self.training_step.losses)

    def optimizer_step(self) -> None:
        """Update parameters and learning rates."""
        self.training_step.update(self.model.parameters())


def _no_evaluator() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No loggers specified")
        return EvaluationPlugin(loggers=[])

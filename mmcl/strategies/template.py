"""MMCLTemplate: the class-incremental training loop, an Avalanche template over named batches."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

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
from mmcl.data.avalanche_streams import rows_of
from mmcl.errors import ConfigError, DataError, StreamError
from mmcl.models.tensor_classifier import TensorClassifier, as_batch_model
from mmcl.precision import Precision
from mmcl.strategies.closed_form import attach_read_out
from mmcl.strategies.loader import BatchLoader, on_device
from mmcl.strategies.loss_terms import LossTerms
from mmcl.strategies.optimizer import add_parameters, plugin_parameters, reset_optimizer
from mmcl.strategies.teacher import with_teacher
from mmcl.training.step import SchedulerMaker, TrainingStep

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience


class MMCLTemplate(LossTerms):
    """Avalanche's supervised template over named batches.

    Use it like any Avalanche strategy, with a benchmark made by :func:`mmcl.data.class_incremental` or by Avalanche::

        for experience in benchmark.train_stream:
            strategy.train(experience)

    Plugins read ``strategy.mbatch`` (a :class:`~mmcl.batch.Batch`), ``strategy.output`` (the model's output) and
    ``strategy.mb_output`` (its logits). They add a loss term by :meth:`add_loss` in ``before_backward``, and samples by
    :meth:`rehearse` in ``after_train_dataset_adaptation``. If a plugin has a method ``parameters()``, the optimizer
    trains them. For saving and resuming, see :class:`~mmcl.strategies.resuming.Resumable`.

    A step should not wait for a GPU: plugins read ``strategy.rehearsed`` and ``strategy.mbatch["rows"]``, which are on
    the CPU, and give :meth:`add_loss` a tensor.

    Args:
        model: maps a batch to an object with ``logits`` ``(batch, classes)``; or, in training, with ``logits``
            ``(batch, steps, tokens)`` and ``targets`` ``(batch, steps)``. Its ``grow(labels)``, if it has one, is
            called at the start of each experience. A plain classifier, which takes a tensor and returns logits, is
            wrapped in a :class:`~mmcl.models.TensorClassifier`.
        optimizer: reset at each experience; parameters that the model grows join its last group.
        epochs: passes over each experience.
        batch_size: samples per step.
        eval_batch_size: samples per step in evaluation.
        scheduler: function from the optimizer and an experience's number of steps to a learning rate schedule.
        clip_norm: largest norm of the gradient; None for no clipping.
        plugins: Avalanche plugins, called in this order.
        evaluator: Avalanche metrics and loggers; None for none.
        device: device that the model is trained on.
        workers: processes that load samples, for data that is not in memory.
        columns: columns of the head in training: of classes that have ``arrived``, or of ``all`` classes of the data,
            as in Avalanche and Mammoth. Columns of later classes then learn to be low from the start, so that new
            classes do not outweigh old ones, but the number of classes must be known beforehand.
        bucket: number of batches whose samples are sorted by length together, to reduce padding; 1 for no sorting.
        precision: precision of the model; ``"auto"`` is ``"bf16-mixed"`` on devices that compute in bfloat16, else 32.

    Raises:
        TrainingError: the loss is not finite; names experience, epoch and step, and a sample that is not finite. On a
            GPU, it is raised within 32 steps, and before the epoch ends.
        CheckpointError: a loaded state belongs to another model, other plugins, or another experience.
        ConfigError: ``columns`` is unknown.
        LabelError: the model's head lacks a label.
        StreamError: an experience is empty, or its stream is a generator.
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
        columns: Literal["arrived", "all"] = "arrived",
        bucket: Count = 1,
        precision: Precision = "32",
    ) -> None:
        super().__init__(
            model=as_batch_model(model),
            optimizer=optimizer,
            criterion=nn.CrossEntropyLoss(),
            train_mb_size=batch_size,
            train_epochs=epochs,
            eval_mb_size=eval_batch_size,
            device=device,
            plugins=with_teacher(plugins),
            evaluator=evaluator or _no_evaluator(),
        )
        # Avalanche calls plugins at every hook of every step; these two would only cost time.
        idle = [plugin for plugin in self.plugins if isinstance(plugin, PeriodicEval)]
        for plugin in [*idle, *([self.evaluator] if evaluator is None else [])]:
            self.plugins.remove(plugin)
        self.mbatch: Batch
        self.loss: Tensor
        self.training_step = TrainingStep(optimizer, clip_norm=clip_norm, precision=precision, device=self.device)
        if columns not in ("arrived", "all"):
            raise ConfigError(f"columns is {columns!r}, expected arrived or all")
        self.workers, self.bucket, self.columns = workers, bucket, columns
        self.output: Any = None
        self.losses: dict[str, float] = {}
        self.epoch, self.schedule_steps, self._head_checked = 0, 0, False
        self._make_scheduler = scheduler
        add_parameters(optimizer, plugin_parameters(self.plugins))
        self._initial_rates = [group["lr"] for group in optimizer.param_groups]
        self.memory_rows: list[int] = []  # rows added to the samples of the experience
        self.left_out: set[int] = set()  # rows of the experience that are not trained on as new samples
        attach_read_out(self.model, self.plugins)

    # Named batches

    @property
    def mb_x(self) -> Batch:
        """The current batch."""
        return self.mbatch

    @property
    def mb_y(self) -> Tensor:
        """Labels of the current batch, ``(batch,)``."""
        return self.mbatch["label"]

    @property
    def mb_task_id(self) -> Tensor:
        """Zero for every sample: a class-incremental model does not know the task."""
        return torch.zeros_like(self.mb_y)

    def _unpack_minibatch(self) -> None:
        if self.device.type != "cpu":
            self.mbatch = on_device(self.mbatch, self.device)

    def forward(self) -> Tensor:
        """Return the logits of the current batch, ``(batch, classes)``."""
        self.output = self.training_step.forward(self.model, self.mbatch)
        return self.output.logits

    # Data of an experience

    def train_dataset_adaptation(self, **kwargs: object) -> None:
        """Set the experience's data, and clear the rows rehearsed and left out in the previous experience."""
        super().train_dataset_adaptation(**kwargs)
        if len(self.adapted_dataset) == 0:
            number = self.experience.current_experience
            raise StreamError(f"experience {number} has 0 samples, expected at least 1: check the data set's labels")
        self.memory_rows, self.left_out = [], set()

    def rehearse(self, rows: Sequence[int]) -> None:
        """Add rows of the data set to the training data of this experience."""
        self.memory_rows += whole_numbers(rows, "rows", error=DataError)

    def make_train_dataloader(self, **kwargs: object) -> None:
        """Make a loader that shuffles the experience's samples with the rehearsed ones, without those left out."""
        new = [row for row in rows_of(self.experience) if row not in self.left_out]
        rows = torch.tensor([*new, *self.memory_rows], dtype=torch.long)
        is_rehearsal = torch.arange(len(rows)) >= len(new)
        self.dataloader = self._load(rows, is_rehearsal=is_rehearsal, batch_size=self.train_mb_size)

    def make_eval_dataloader(self, **kwargs: object) -> None:
        """Make a loader over the experience in its order, or sorted by length within buckets."""
        rows = torch.tensor(rows_of(self.experience), dtype=torch.long)
        self.dataloader = self._load(rows, batch_size=self.eval_mb_size, shuffle=False)

    def _load(self, rows: Tensor, **settings: Any) -> BatchLoader:
        settings |= {"workers": self.workers, "bucket": self.bucket, "sharded": True}
        return BatchLoader(self.experience.source, rows, **settings)

    def model_adaptation(self, model: nn.Module | None = None) -> nn.Module:
        """Grow the head for the classes of the experience, in training only."""
        model = self.model if model is None else model
        if self.is_training:
            grow: Any = getattr(model, "grow", None)
            if grow is not None:
                source = self.experience.source
                grow(self.experience.group if self.columns == "arrived" else range(len(source.classes)))
            if grow is None or isinstance(model, TensorClassifier):
                super().model_adaptation(model)
        return model.to(self.device)

    def make_optimizer(self, **kwargs: object) -> None:
        """Reset the optimizer to the model's current parameters, and make its schedule."""
        reset_optimizer(
            self.optimizer, [*self.model.parameters(), *plugin_parameters(self.plugins)], self._initial_rates
        )
        self.training_step.optimizer = self.optimizer
        if self._make_scheduler is not None:
            self.schedule_steps = self.train_epochs * len(self.dataloader)
            self.training_step.scheduler = self._make_scheduler(self.optimizer, self.schedule_steps)

    def check_model_and_optimizer(self, **kwargs: object) -> None:
        """Adapt model and optimizer to the experience."""
        self.model = self.model_adaptation()
        distributed.broadcast_parameters(self.model)  # new parameters are initialized at random in each process
        self.make_optimizer()

    # The loop

    def _train_exp(self, experience: CLExperience, eval_streams: object = None, **kwargs: object) -> None:
        self.epoch, self._head_checked = 0, False
        self._restore_training()
        while self.epoch < self.train_epochs and not self._stop_training:
            self.model.train()  # a plugin may have left the model, or a part of it, in evaluation mode
            self._before_training_epoch(**kwargs)
            self.training_step.reset()
            self.losses = self.training_step.losses
            distributed.seed_ranks()
            with self.training_step.located(self._where, self._samples):
                self.training_epoch(**kwargs)
            self.losses = self.training_step.means()
            self.epoch += 1
            self.resumable = True
            self._after_training_epoch(**kwargs)
            self.resumable = False


def _no_evaluator() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No loggers specified")
        return EvaluationPlugin(loggers=[])

"""TrainingStep: finite check, gradient accumulation and clipping, and updates, shared by all training loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from mmcl import distributed
from mmcl.errors import ConfigError, InputError
from mmcl.files.loading import entry, load_optimizer, load_schedule, plain_state, snapshot
from mmcl.precision import InputT, OutputT, Precision, in_precision, resolved
from mmcl.training.finite import LOWER, Named, step_error
from mmcl.training.loss_sums import CheckedStep, LossSums

SchedulerMaker = Callable[[Optimizer, int], LRScheduler]  # from an optimizer and a number of steps


class TrainingStep:
    """A step of the optimizer, from the forward pass to the learning rate schedule.

    A loop computes a loss. The step checks that it is finite, computes gradients, sums them over processes, clips
    their norm, and updates parameters and learning rates. Named loss terms are averaged over an epoch. A step does not
    wait for a GPU: losses are read and checked together, see :class:`~mmcl.training.loss_sums.LossSums`::

        step = TrainingStep(optimizer, clip_norm=1.0)
        for number, batch in enumerate(batches, start=1):
            with step.located(lambda: f"epoch 1, step {number}", lambda: [(batch, ids)]):
                loss = cross_entropy(step.forward(model, batch), batch["label"])
                step.backward(loss)
            step.update()
        losses = step.means()

    Args:
        optimizer: optimizer of all trained parameters.
        scheduler: learning rate schedule, advanced with each update; None for constant rates.
        clip_norm: largest norm of the gradient; None to leave it unclipped.
        accumulate: backward passes for each update.
        precision: precision of the forward pass; ``"bf16-mixed"`` is ``torch.autocast`` to bfloat16, and ``"auto"``
            uses it on devices that compute in bfloat16.
        device: device that the forward pass runs on.
        advice: next step to name in the error of a loss that is not finite.
        sums: sums of the losses, which several steps of one loop may share; None for sums of its own.

    Attributes:
        clip_norm, scheduler: as above; may be assigned.

    Raises:
        ConfigError: ``accumulate`` is below 1.

    >>> weight = nn.Parameter(torch.tensor([2.0]))
    >>> step = TrainingStep(torch.optim.SGD([weight], lr=0.1), clip_norm=1.0)
    >>> step.backward((weight**2).sum())
    >>> step.update(), weight.data, step.means()
    (True, tensor([1.9000]), {'loss': 4.0})
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        scheduler: LRScheduler | None = None,
        clip_norm: float | None = None,
        accumulate: int = 1,
        precision: Precision = "32",
        device: str | torch.device = "cpu",
        advice: str = LOWER,
        sums: LossSums | None = None,
    ) -> None:
        if accumulate < 1:
            raise ConfigError(f"accumulate is {accumulate}, expected 1 or more")
        self.optimizer, self.scheduler = optimizer, scheduler
        self.clip_norm, self.accumulate, self.advice = clip_norm, accumulate, advice
        self.device = torch.device(device)
        self.precision = resolved(precision, self.device)
        self.sums = sums or LossSums()
        self._accumulated = 0
        self._where: Callable[[], str] = lambda: "training"
        self._samples: Callable[[], Iterable[Named]] = tuple

    @contextmanager
    def located(
        self, where: Callable[[], str], samples: Callable[[], Iterable[Named]] = tuple, *, what: str = ""
    ) -> Iterator[None]:
        """Context of a step: errors raised within name the step, and a sample that is not finite.

        Gradients are cleared, unless earlier ones are accumulated.

        Args:
            where: returns the place in training, such as ``"epoch 1, step 2"``; called for an error only.
            samples: returns batches with the ids of their samples, see :func:`~mmcl.training.finite.step_error`. On a
                GPU, the result of each step is kept for some steps: a generator that reads the samples again is small.
            what: prefix of the error of invalid input.
        """
        self._where, self._samples = where, samples
        if not self._accumulated:
            self.optimizer.zero_grad()
        try:
            yield
        except InputError as error:
            self.sums.read()  # the input may be wrong because an earlier loss was not finite
            raise step_error(f"{what}{error}", where(), samples(), InputError) from error

    def forward(self, model: Callable[[InputT], OutputT], batch: InputT) -> OutputT:
        """Return the model's output for a batch, computed in the step's precision and returned in float32."""
        return in_precision(model, batch, self.device, self.precision)

    def objective_autocast(self) -> torch.autocast:
        """Return the context in which a loop calls an objective: with half-precision products on a GPU only.

        On a CPU, objectives compute in float32.
        """
        enabled = self.precision == "bf16-mixed" and self.device.type == "cuda"
        return torch.autocast(self.device.type, torch.bfloat16, enabled, cache_enabled=False)

    def autocast(self) -> torch.autocast:
        """Return the context in which a loop runs a forward pass of several calls."""
        # Gradient caching first runs without a graph; the weights cast there must not be reused with one.
        return torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16-mixed", cache_enabled=False)

    @property
    def losses(self) -> dict[str, float]:
        """Sum of each loss term since the last call of :meth:`means`, as far as values are read."""
        return self.sums.values

    def note(self, name: str, value: float | Tensor) -> None:
        """Add a value to a loss term's sum."""
        self.sums.note(name, value)

    def check(self, loss: Tensor, what: str = "the loss", terms: Iterable[str] = ()) -> None:
        """Check that a loss is finite, and add it to the sums.

        Raises:
            TrainingError: the loss, or on a GPU one of the last steps, is not finite; names the step, and the sample
                at fault if there is one.
        """
        self.sums.check(loss, lambda: CheckedStep(what, self._where(), tuple(terms), self._samples(), self.advice))

    def backward(self, loss: Tensor, what: str = "the loss", terms: Iterable[str] = ()) -> None:
        """Check a loss, and compute its gradients.

        Raises:
            TrainingError: the loss, or on a GPU one of the last steps, is not finite.
        """
        self.check(loss, what, terms)
        (loss if self.accumulate == 1 else loss / self.accumulate).backward()

    def update(self, clipped: Iterable[nn.Parameter] | None = None, *, last: bool = False) -> bool:
        """Update parameters and learning rates after ``accumulate`` backward passes.

        Args:
            clipped: parameters with clipped gradients; None for all parameters of the optimizer.
            last: update even after fewer backward passes, as at the end of an epoch.

        Returns:
            Whether the parameters were updated.
        """
        self._accumulated += 1
        if self._accumulated < self.accumulate and not last:
            return False
        self._accumulated = 0
        distributed.all_reduce_gradients(self.parameters())
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters() if clipped is None else clipped, self.clip_norm)
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return True

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the optimizer's parameters."""
        for group in self.optimizer.param_groups:
            yield from group["params"]

    def means(self) -> dict[str, float]:
        """Return each loss term's mean over the steps since the last call, summed over processes.

        Raises:
            TrainingError: on a GPU, the loss of one of the last steps is not finite.
        """
        sums, steps = distributed.all_reduce_sums(self.sums.read()), max(self.sums.steps, 1)
        self.reset()
        return {name: value / steps for name, value in sums.items()}

    def reset(self) -> None:
        """Discard accumulated gradients, and the loss terms since the last call of :meth:`means`."""
        self.sums.reset()
        self._accumulated = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizer and schedule, as tensors, numbers and strings.

        Raises:
            TrainingError: on a GPU, the loss of one of the last steps is not finite.
        """
        self.sums.read()
        scheduler = None if self.scheduler is None else plain_state(self.scheduler)
        return {"optimizer": snapshot(self.optimizer.state_dict()), "scheduler": scheduler}

    def load_state_dict(self, state: Mapping[str, Any], what: str = "the state of training") -> None:
        """Restore optimizer and schedule.

        Args:
            state: returned by :meth:`state_dict`; further entries are ignored.
            what: name of the state, for errors.

        Raises:
            CheckpointError: the state belongs to another optimizer or schedule.
        """
        load_optimizer(self.optimizer, entry(state, "optimizer", what), f"{what}: the optimizer")
        load_schedule(self.scheduler, entry(state, "scheduler", what), what)

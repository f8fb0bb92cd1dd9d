"""TrainingStep: finite check, gradient accumulation and clipping, and updates, shared by all training loops."""

from __future__ import annotations

import math
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

SchedulerMaker = Callable[[Optimizer, int], LRScheduler]  # from an optimizer and a number of steps


class TrainingStep:
    """A step of the optimizer, from the forward pass to the learning rate schedule.

    A loop computes a loss. The step checks that it is finite, computes gradients, sums them over processes, clips
    their norm, and updates parameters and learning rates. Named loss terms are averaged over an epoch::

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

    Attributes:
        losses: sum of each loss term since the last call of :meth:`means`.
        clip_norm, scheduler: as above; may be assigned.

    Raises:
        ConfigError: ``accumulate`` is below 1.

    >>> weight = nn.Parameter(torch.tensor([2.0]))
    >>> step = TrainingStep(torch.optim.SGD([weight], lr=0.1), clip_norm=1.0)
    >>> _ = step.backward((weight**2).sum())
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
    ) -> None:
        if accumulate < 1:
            raise ConfigError(f"accumulate is {accumulate}, expected 1 or more")
        self.optimizer, self.scheduler = optimizer, scheduler
        self.clip_norm, self.accumulate, self.advice = clip_norm, accumulate, advice
        self.device = torch.device(device)
        self.precision = resolved(precision, self.device)
        self.losses: dict[str, float] = {}
        self._steps = self._accumulated = 0
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
            samples: returns batches with the ids of their samples, see :func:`~mmcl.training.finite.step_error`.
            what: prefix of the error of invalid input.
        """
        self._where, self._samples = where, samples
        if not self._accumulated:
            self.optimizer.zero_grad()
        try:
            yield
        except InputError as error:
            raise step_error(f"{what}{error}", where(), samples(), InputError) from error

    def forward(self, model: Callable[[InputT], OutputT], batch: InputT) -> OutputT:
        """Return the model's output for a batch, computed in the step's precision and returned in float32."""
        return in_precision(model, batch, self.device, self.precision)

    def autocast(self) -> torch.autocast:
        """Return the context in which a loop runs a forward pass of several calls."""
        # Gradient caching first runs without a graph; the weights cast there must not be reused with one.
        return torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16-mixed", cache_enabled=False)

    def note(self, name: str, value: float) -> None:
        """Add a value to a loss term's sum."""
        self.losses[name] = self.losses.get(name, 0.0) + value

    def check(self, value: float, what: str = "the loss", terms: Iterable[str] = ()) -> float:
        """Return a loss if it is finite, and note it.

        Raises:
            TrainingError: the loss is not finite; names the step, and the sample at fault if there is one.
        """
        if not math.isfinite(value):
            named = ", ".join(sorted(set(terms) - {"loss"}))
            where = self._where() + (f" (terms: {named})" if named else "")
            raise step_error(f"{what} is {value}", where, self._samples(), advice=self.advice)
        self.note("loss", value)
        self._steps += 1
        return value

    def backward(self, loss: Tensor, what: str = "the loss", terms: Iterable[str] = ()) -> float:
        """Compute gradients of a finite loss, and return its value.

        Raises:
            TrainingError: the loss is not finite.
        """
        value = self.check(loss.item(), what, terms)
        (loss if self.accumulate == 1 else loss / self.accumulate).backward()
        return value

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
        """Return each loss term's mean over the steps since the last call, summed over processes."""
        steps, sums = max(self._steps, 1), distributed.all_reduce_sums(self.losses)
        self.reset()
        return {name: value / steps for name, value in sums.items()}

    def reset(self) -> None:
        """Discard accumulated gradients, and the loss terms since the last call of :meth:`means`."""
        self.losses, self._steps, self._accumulated = {}, 0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return the state of optimizer and schedule, as tensors, numbers and strings."""
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

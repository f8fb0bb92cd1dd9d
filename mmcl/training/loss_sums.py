"""LossSums: sums of the losses of an epoch, read from a GPU once in several steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from mmcl import distributed
from mmcl.errors import MMCLError, TrainingError
from mmcl.training.finite import Named, step_error


def waits(device: torch.device) -> bool:
    """Whether reading a number from a device waits until all of its queued work is done.

    >>> waits(torch.device("cpu")), waits(torch.device("cuda", 0))
    (False, True)
    """
    return device.type != "cpu"


class CheckedStep(NamedTuple):
    """The place of a loss in training, for the error if it is not finite.

    Attributes:
        what: name of the loss.
        where: place in training.
        terms: names of the loss's terms.
        samples: batches of the step, with the ids of their samples; iterated for an error only.
        advice: next step to name if all inputs are finite.
    """

    what: str
    where: str
    terms: tuple[str, ...]
    samples: Iterable[Named]
    advice: str

    def error(self, value: float) -> MMCLError:
        """Return the error of the step's loss, which is not finite."""
        named = ", ".join(sorted(set(self.terms) - {"loss"}))
        where = self.where + (f" (terms: {named})" if named else "")
        return step_error(f"{self.what} is {value}", where, self.samples, advice=self.advice)


class LossSums:
    """Sums of named losses, and the check that the loss of each step is finite.

    On the CPU, values are read at once. On a GPU, values stay there and are read together, once in ``CHECK_EVERY``
    steps and by :meth:`read`. The sums are equal: Python floats, added in the order of the steps.

    Attributes:
        values: sum of each loss, without values that are not read yet.
        steps: number of checked losses.

    >>> sums = LossSums()
    >>> sums.note("mm", torch.tensor(0.5)), sums.note("mm", 2.0)
    (None, None)
    >>> sums.read()
    {'mm': 2.5}
    """

    CHECK_EVERY = 32

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set all sums to zero, and discard values that are not read yet."""
        self.values: dict[str, float] = {}
        self.steps = 0
        self._unread: list[tuple[str, float | Tensor, CheckedStep | None]] = []
        self._unchecked: list[CheckedStep] = []

    def note(self, name: str, value: float | Tensor) -> None:
        """Add a value to the sum of a loss."""
        if isinstance(value, Tensor) and not waits(value.device):
            value = value.item()
        if isinstance(value, Tensor) or self._unread:  # a number waits for those before it, so that all add up in order
            self._keep(name, value, None)
        else:
            self.values[name] = self.values.get(name, 0.0) + value

    def check(self, loss: Tensor, step: Callable[[], CheckedStep]) -> None:
        """Add the loss of a step, after checking that it is finite; on a GPU within ``CHECK_EVERY`` steps.

        Args:
            loss: one number.
            step: returns the place of the loss. On a GPU it is called in each step and kept for some steps, so that
                it should not hold the step's batch.

        Raises:
            TrainingError: this loss, or one of the last steps, is not finite.
        """
        if waits(loss.device):
            self._unchecked.append(step())
            self._keep("loss", loss, self._unchecked[-1])
            if len(self._unchecked) >= self.CHECK_EVERY:
                self.read()
        else:
            value = loss.item()
            if not math.isfinite(value):
                raise step().error(value)
            self.note("loss", value)
        self.steps += 1

    def read(self) -> dict[str, float]:
        """Return the sums, after reading what is still on the device.

        Raises:
            TrainingError: a loss is not finite; names the first such step.
        """
        unread, unchecked = self._unread, self._unchecked
        self._unread, self._unchecked = [], []
        on_device = [value for _, value, _ in unread if isinstance(value, Tensor)]
        read = iter(torch.stack(on_device).tolist() if on_device else ())
        numbers = [next(read) if isinstance(value, Tensor) else value for _, value, _ in unread]
        losses = [number for (_, _, step), number in zip(unread, numbers, strict=True) if step is not None]
        bad = [(index, number) for index, number in enumerate(losses) if not math.isfinite(number)]
        if unchecked:
            _raise_first(bad[0] if bad else None, unchecked)
        for (name, _, _), number in zip(unread, numbers, strict=True):
            self.values[name] += number
        return self.values

    def _keep(self, name: str, value: float | Tensor, step: CheckedStep | None) -> None:
        self.values.setdefault(name, 0.0)
        value = value.detach().reshape(()) if isinstance(value, Tensor) else value
        self._unread.append((name, value, step))


def _raise_first(bad: tuple[int, float] | None, steps: list[CheckedStep]) -> None:
    """Raise the error of the first loss that is not finite, in this process or in another.

    Gradients are summed over processes, so a loss that is not finite spoils the next steps of all processes.
    """
    found = distributed.all_gather_object(None if bad is None else bad[0])
    first = min((index for index in found if index is not None), default=None)
    if first is None:
        return
    if bad is not None and bad[0] == first:
        raise steps[first].error(bad[1])
    raise TrainingError(
        f"{steps[first].what} of another process is not finite in {steps[first].where}: see the error of that process"
    )

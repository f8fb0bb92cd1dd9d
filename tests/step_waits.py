"""Find operations of a training step whose result the CPU reads: on a GPU, each waits for all queued work.

The operations are found on a CPU, by their names. What objectives ask is tested with the objectives.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from avalanche.core import SupervisedPlugin
from torch.utils._python_dispatch import TorchDispatchMode

from mmcl.training.step import TrainingStep

_READ = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount"}
_INDEXED = {"index", "index_put", "index_put_", "_index_put_impl_"}
_OWN = str(Path(__file__).parents[1] / "mmcl") + "/"


class Waits(TorchDispatchMode):
    """List the places in ``mmcl`` that wait, as ``module:line operation``."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in _READ or (name in _INDEXED and any(_is_mask(each) for each in args[1])):
            place = _place()
            # A mask that selects in the forward pass is found there, and need not be found in the backward pass.
            again = name.startswith("index_put") and place is not None and place.startswith("training/step.py")
            if place is not None and not again and not place.startswith("objectives/"):
                self.found.append(f"{place} {name}")
        return func(*args, **(kwargs or {}))


class WatchedSteps(SupervisedPlugin):
    """Watch each step of an experience but the first, which may search what it then remembers."""

    def __init__(self):
        super().__init__()
        self.waits, self.steps = Waits(), 0
        self._entered = False

    def before_training_iteration(self, strategy, **kwargs):
        if strategy.clock.train_exp_iterations:
            self.waits.__enter__()
            self._entered, self.steps = True, self.steps + 1

    def after_update(self, strategy, **kwargs):
        if self._entered:
            self.waits.__exit__(None, None, None)
            self._entered = False


def _place():
    """Module and line in ``mmcl`` that an operation is called from; None for optimizers, which count on the CPU."""
    frame = sys._getframe(2)
    while frame is not None and "torch/optim/" not in frame.f_code.co_filename:
        if frame.f_code.co_filename.startswith(_OWN):
            return f"{frame.f_code.co_filename.removeprefix(_OWN)}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _is_mask(index):
    return isinstance(index, torch.Tensor) and index.dtype in (torch.bool, torch.uint8)


def watch_steps(monkeypatch, skipped=1):
    """Watch each step of the loops that need no Avalanche, but the first, and return the watch with their number."""
    waits, located = Waits(), TrainingStep.located
    waits.steps = 0

    @contextmanager
    def watched(self, *args, **kwargs):
        with located(self, *args, **kwargs):
            waits.steps += 1
            with waits if waits.steps > skipped else nullcontext():
                yield

    monkeypatch.setattr(TrainingStep, "located", watched)
    return waits

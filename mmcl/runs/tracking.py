"""Tracking: what a run's folder and a person in front of it want to know of training."""

from __future__ import annotations

import time
from typing import Any

from avalanche.core import SupervisedPlugin
from rich.progress import Progress

from mmcl.runs.checkpoints import unit_name
from mmcl.runs.run import Run


class Tracking(SupervisedPlugin):
    """After each epoch, log its losses and write a checkpoint; all the while, move a progress bar.

    Stands last among the plugins, so that the checkpoint has what the others did.

    Args:
        run: the folder; None writes nothing.
        strategy: name of the strategy, for rows of the log.
        seed: likewise.
        progress: display; None for none.
        epochs: number of epochs in the whole stream, for the bar.
        pause: seconds that are to pass between checkpoints, where epochs are short and models large.

    Attributes:
        seconds: time spent in training so far, before the run was interrupted as well.
    """

    def __init__(
        self,
        run: Run | None,
        strategy: str,
        seed: int,
        progress: Progress | None = None,
        epochs: int | None = None,
        *,
        pause: float = 0.0,
    ) -> None:
        super().__init__()
        self.run = run
        self.name = {"strategy": strategy, "seed": seed}
        self.unit = unit_name(strategy, seed)
        self.progress = progress
        self.bar = None if progress is None else progress.add_task(f"{strategy}, seed {seed}", total=epochs)
        self.pause = pause
        self.seconds = 0.0
        self._written = time.monotonic()
        self._started = time.monotonic()
        self._shown = 0.0

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Note the time."""
        self._started = self._shown = time.monotonic()

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        """Move the bar, in epochs that are long enough to see it move."""
        if time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            self._move(strategy, strategy.epoch + strategy.clock.train_epoch_iterations / len(strategy.dataloader))

    def after_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        """Log and write."""
        number = strategy.experience.current_experience
        loss = strategy.losses.pop("loss")
        seconds = time.monotonic() - self._started
        self.seconds += seconds
        where = {**self.name, "experience": number, "epoch": strategy.epoch}
        if self.run is not None:
            self.run.log("epoch", **where, loss=loss, losses=strategy.losses, seconds=round(seconds, 4))
        if self.run is not None and time.monotonic() - self._written >= self.pause:
            self.run.checkpoint(self.unit, {"finished": False, "training": strategy.state_dict()})
            self._written = time.monotonic()
        self._move(strategy, strategy.epoch)

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """The time spent."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up the time spent before."""
        self.seconds = state["seconds"]

    def _move(self, strategy: Any, epochs: float) -> None:
        if self.progress is not None and self.bar is not None:
            number = strategy.experience.current_experience
            stream = len(strategy.experience.origin_stream)
            self.progress.update(
                self.bar,
                completed=number * strategy.train_epochs + epochs,
                description=f"{self.name['strategy']}, seed {self.name['seed']}, experience {number + 1}/{stream}",
            )

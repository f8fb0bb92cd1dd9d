"""Plugin that logs epochs, writes checkpoints and updates the progress bar."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from avalanche.core import SupervisedPlugin
from rich.progress import Progress

from mmcl.errors import ConfigError
from mmcl.runs.checkpoints import unit_name
from mmcl.runs.run import Run

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class Tracking(SupervisedPlugin):
    """Logs the losses after each epoch, writes checkpoints, and updates a progress bar.

    It must be the last plugin, so that checkpoints include the state of all others.

    Args:
        run: The run; None to write nothing.
        strategy: Name of the strategy in the log.
        seed: The seed in the log.
        progress: Progress display, if any.
        epochs: Number of epochs of the whole stream, for the progress bar.
        share: Largest share of the time that checkpoints take, in (0, 1]; 1 writes one after each epoch.

    Raises:
        ConfigError: ``share`` is out of range.

    Attributes:
        seconds: Training time so far, including that before an interruption.
    """

    def __init__(
        self,
        run: Run | None,
        strategy: str,
        seed: int,
        progress: Progress | None = None,
        epochs: int | None = None,
        *,
        share: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ConfigError(f"share is {share}, expected more than 0 and at most 1, such as 0.1")
        self.run = run
        self.name = {"strategy": strategy, "seed": seed}
        self.unit = unit_name(strategy, seed)
        self.progress = progress
        self.bar = None if progress is None else progress.add_task(f"{strategy}, seed {seed}", total=epochs)
        self.share = share
        self.seconds = 0.0
        self._next = 0.0  # time of the next checkpoint
        self._started = time.monotonic()
        self._shown = 0.0

    def before_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Start the clock of an experience without epochs."""
        self._started = time.monotonic()

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Count the time of an experience without epochs."""
        if strategy.epoch == 0:
            self.seconds += time.monotonic() - self._started
            self._move(strategy, max(strategy.train_epochs, 1))

    def before_training_epoch(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Start the clock."""
        self._started = self._shown = time.monotonic()

    def after_training_iteration(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Update the progress bar, at most twice a second."""
        if time.monotonic() - self._shown > 0.5:
            self._shown = time.monotonic()
            self._move(strategy, strategy.epoch + strategy.clock.train_epoch_iterations / len(strategy.dataloader))

    def after_training_epoch(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Log the epoch, and write a checkpoint unless the last one is too recent for the time that it took."""
        experience = strategy.experience.current_experience
        loss = strategy.losses.pop("loss")
        seconds = time.monotonic() - self._started
        self.seconds += seconds
        where = {**self.name, "experience": experience, "epoch": strategy.epoch}
        if self.run is not None:
            self.run.log("epoch", **where, loss=loss, losses=strategy.losses, seconds=round(seconds, 4))
        if self.run is not None and (before := time.monotonic()) >= self._next:
            self.run.checkpoint(self.unit, {"finished": False, "training": strategy.state_dict()})
            after = time.monotonic()
            self._next = after + (after - before) * (1 - self.share) / self.share
        self._move(strategy, strategy.epoch, note=f"loss {loss:.3f}")

    def show(self, note: str) -> None:
        """Show a note beside the progress bar, such as the accuracy."""
        if self.progress is not None and self.bar is not None:
            self.progress.update(self.bar, note=note)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the training time."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the training time."""
        self.seconds = state["seconds"]

    def _move(self, strategy: MMCLTemplate, epochs: float, **fields: Any) -> None:
        if self.progress is not None and self.bar is not None:
            experience = strategy.experience.current_experience
            stream = len(strategy.experience.origin_stream)
            self.progress.update(
                self.bar,
                completed=experience * max(strategy.train_epochs, 1) + epochs,
                description=f"{self.name['strategy']}, seed {self.name['seed']}, experience {experience + 1}/{stream}",
                **fields,
            )

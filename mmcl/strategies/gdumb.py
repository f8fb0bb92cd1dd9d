"""GDumb: a memory that is all that the model is trained on, from its initial weights in each experience."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from mmcl.config.numbers import Count
from mmcl.data.avalanche_streams import rows_of
from mmcl.errors import ConfigError
from mmcl.files.loading import load_state, snapshot
from mmcl.strategies.early_rehearsal import EarlyRehearsal
from mmcl.strategies.teacher import trained_state

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class GDumb(EarlyRehearsal):
    """Select a balanced memory, and train the model on it alone, from its initial weights in each experience.

    ``loss = cross-entropy`` over the memory, which the samples of the experience join before training. GDumb, Prabhu
    et al. 2020 (ECCV): the greedy balancing sampler and the dumb learner.

    Differs from the paper: the loop's optimizer, epochs and schedule, without cutmix. Weights that were pretrained are
    the initial ones; columns of the head are initialized at random.

    Args:
        memory_size: samples in memory, all classes together.
        memory_bytes: size of the memory in bytes of samples, in place of memory_size; None: no limit.

    Raises:
        ConfigError: the memory is too small for a sample of each class in the stream; raised before training.
        CheckpointError: the rows of a loaded state are other samples in the current data.
    """

    def __init__(self, memory_size: Count = 50, *, memory_bytes: Count | None = None) -> None:
        if memory_size < 1:
            raise ConfigError(f"memory_size is {memory_size}, expected 1 or more: gdumb trains on the memory alone")
        super().__init__(memory_size, memory_bytes=memory_bytes)
        self._initial: dict[str, Tensor] = {}

    def before_training(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Keep the initial weights."""
        if not self._initial:
            self._initial = snapshot(trained_state(strategy.model))

    def prepare(self, strategy: MMCLTemplate) -> None:
        """Reset the model to its initial weights, with a new head for the classes in memory."""
        load_state(strategy.model, self._initial, "the initial weights", required=())
        if hasattr(strategy.model, "grow"):
            strategy.model.grow(list(self.memory))

    def after_train_dataset_adaptation(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Train on the memory alone."""
        super().after_train_dataset_adaptation(strategy)
        strategy.left_out |= set(rows_of(strategy.experience))

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the memory and the initial weights."""
        return {**super().state_dict(strategy), "initial": self._initial}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the memory and the initial weights."""
        super().load_state_dict(state, strategy)
        self._initial = dict(state["initial"])

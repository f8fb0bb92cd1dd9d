"""EarlyRehearsal: a memory that holds samples of the current experience too, selected before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmcl.config.numbers import Count, Size
from mmcl.data.avalanche_streams import rows_of
from mmcl.strategies.rehearsal import Rehearsal

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate


class EarlyRehearsal(Rehearsal):
    """Keep a class-balanced memory that samples of an experience join before training, as if it were filled on the way.

    The memory is of the same size as that of :class:`~mmcl.strategies.rehearsal.Rehearsal`, and after an experience it
    is chosen in the same way. Here it also has rehearsal samples of the classes that arrive. Every sample is still
    trained on once in each epoch, either as a new or as a rehearsal sample.

    Args:
        memory_size: samples in memory, all classes together; 0 keeps none.
        by_superclass: balance the memory by superclass.
        memory_bytes: size of the memory in bytes of samples, in place of memory_size; None: no limit.

    Raises:
        ConfigError: the memory is too small for a sample of each class in the stream; raised before training.
        CheckpointError: the rows of a loaded state are other samples in the current data.
    """

    def __init__(
        self, memory_size: Size = 50, *, by_superclass: bool = False, memory_bytes: Count | None = None
    ) -> None:
        super().__init__(memory_size, by_superclass=by_superclass, memory_bytes=memory_bytes)
        self._prepared: int | None = None  # number of the last experience whose samples joined the memory

    def after_train_dataset_adaptation(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Add samples of the experience to the memory, and the memory to the training data."""
        number = strategy.experience.current_experience
        if self._prepared != number:  # otherwise training resumes in the experience
            super().after_training_exp(strategy)
            self.prepare(strategy)
            self._prepared = number
        strategy.left_out |= set(rows_of(strategy.experience)) & set(self.rows)  # these are rehearsal samples now
        strategy.rehearse(self.rows)

    def prepare(self, strategy: MMCLTemplate) -> None:
        """Prepare an experience whose samples have joined the memory; called once for each."""

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Leave the memory unchanged: it was filled before training."""

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the memory, and the number of the experience whose samples joined it last."""
        return {**super().state_dict(strategy), "prepared": self._prepared}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the memory."""
        super().load_state_dict(state, strategy)
        self._prepared = state["prepared"]

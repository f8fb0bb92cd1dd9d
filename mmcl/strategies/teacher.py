"""Teacher: the model as it was before the experience, kept once for all plugins that learn from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avalanche.core import SupervisedPlugin
from torch import nn

from mmcl.files.loading import load_state
from mmcl.freeze import freeze, frozen_copy, trainable_state


class Teacher(SupervisedPlugin):
    """Copy and freeze the model at the end of each experience.

    The training loop adds one where a plugin has ``needs_teacher``; :func:`teacher_of` gives the model.

    Attributes:
        model: the teacher; None in the first experience.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model: nn.Module | None = None

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """Make the teacher of the next experience."""
        self.model = frozen_copy(strategy.model)

    def state_dict(self, strategy: Any) -> dict[str, Any]:
        """The teacher's weights, without what was frozen before, which every copy has."""
        if self.model is None:
            return {}
        trained = trainable_state(strategy.model)  # of the teacher itself everything is frozen
        return {"teacher": {name: tensor for name, tensor in self.model.state_dict().items() if name in trained}}

    def load_state_dict(self, state: dict[str, Any], strategy: Any) -> None:
        """Take up the teacher that :meth:`state_dict` gave.

        Raises:
            CheckpointError: it is of another model.
        """
        self.model = None
        if "teacher" in state:
            model, trained = frozen_copy(strategy.model), trainable_state(strategy.model)
            load_state(model, state["teacher"], "the teacher's state", required=trained.keys())
            self.model = freeze(model)  # a head that had another size has new parameters now


def teacher_of(strategy: Any) -> Any:
    """Return the model as it was before this experience, None in the first or where no plugin needs one."""
    teachers = (plugin.model for plugin in strategy.plugins if isinstance(plugin, Teacher))
    return next(teachers, None)


def with_teacher(plugins: Sequence[SupervisedPlugin]) -> list[SupervisedPlugin]:
    """Return the plugins, after a teacher if one of them needs it and none brings it."""
    needed = any(getattr(plugin, "needs_teacher", False) for plugin in plugins)
    there = any(isinstance(plugin, Teacher) for plugin in plugins)
    return [Teacher(), *plugins] if needed and not there else list(plugins)

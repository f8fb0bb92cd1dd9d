"""State of a strategy at the end of an epoch, and how it is taken up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmcl.checkpoint import plain_state
from mmcl.errors import CheckpointError
from mmcl.freeze import trainable_state
from mmcl.seeding import random_state, set_random_state

if TYPE_CHECKING:
    from mmcl.strategies.template import MMCLTemplate

State = dict[str, Any]


def state_of(strategy: MMCLTemplate) -> State:
    """Return everything that training needs to go on from the end of this epoch, as tensors, numbers and strings."""
    scheduler = strategy.scheduler
    return {
        "experience": strategy.experience.current_experience,
        "samples": getattr(strategy.experience, "digest", None),
        "epoch": strategy.epoch,
        "model": trainable_state(strategy.model),
        "optimizer": strategy.optimizer.state_dict(),
        "scheduler": None if scheduler is None else plain_state(scheduler),
        "plugins": [
            plugin.state_dict(strategy) if hasattr(plugin, "state_dict") else None for plugin in strategy.plugins
        ],
        "random": random_state(),
    }


def take_up_model(strategy: MMCLTemplate, state: State) -> None:
    """Take up model and plugins (memory, teacher), which are needed before an experience begins."""
    strategy.model.load_state_dict(state["model"], strict=False)
    for plugin, saved in zip(strategy.plugins, state["plugins"], strict=True):
        if saved is not None:
            plugin.load_state_dict(saved, strategy)


def take_up_training(strategy: MMCLTemplate, state: State) -> None:
    """Take up optimizer, schedule, generators and epoch, once the experience is set up.

    Raises:
        CheckpointError: the experience has other samples than when the state was made.
    """
    check_samples(strategy.experience, state)
    strategy.optimizer.load_state_dict(state["optimizer"])
    if strategy.scheduler is not None:
        strategy.scheduler.load_state_dict(state["scheduler"])
    set_random_state(state["random"])
    strategy.epoch = state["epoch"]


def check_samples(experience: Any, state: State) -> None:
    """Refuse a state that was made with other samples in the experience; older states do not say.

    Raises:
        CheckpointError: samples were added, removed or changed.
    """
    known, now = state.get("samples"), getattr(experience, "digest", None)
    if known is not None and now is not None and known != now:
        raise CheckpointError(
            f"experience {experience.current_experience} has other samples than when the state was made: put the data "
            "back as they were, or start training again"
        )

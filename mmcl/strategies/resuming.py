"""State of a strategy between experiences or at the end of an epoch, and how it is taken up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from avalanche.training.templates import SupervisedTemplate

from mmcl.errors import CheckpointError, TrainingError
from mmcl.files.loading import check_same, class_name, entry, load_state, snapshot
from mmcl.freeze import trainable_state
from mmcl.seeding import random_state, set_random_state
from mmcl.training.step import TrainingStep

State = dict[str, Any]

_WHAT = "the state of the strategy"


class Resumable(SupervisedTemplate):
    """Avalanche's supervised template, with a state that knows where in the stream it was taken.

    Attributes:
        number: of the experience that was trained last, or is being trained; None before any.
        classes: labels that arrived in it.
        finished: whether nothing of it is left to do, memory and teacher included.
        resumable: whether a state may be taken now.
        pending: a state that was loaded and is not yet taken up as a whole.
    """

    number: int | None = None
    classes: Sequence[int] = ()
    finished = resumable = True
    pending: State | None = None

    # What the loop has beside these; see MMCLTemplate.
    epoch: int
    training_step: TrainingStep
    schedule_steps: int

    def train(self, experiences: Any, eval_streams: Any = None, **kwargs: Any) -> Any:
        """Train on an experience, or on several one after the other; see Avalanche.

        Raises:
            CheckpointError: a state was loaded that another experience follows.
        """
        if self.pending is not None:
            asked = list(experiences) if isinstance(experiences, Iterable) else [experiences]
            experiences = experiences_to_train(self, self.pending, asked)
            if is_finished(self.pending):
                self.pending = None
        return super().train(experiences, eval_streams, **kwargs)

    def state_dict(self) -> State:
        """Return everything that training needs to go on from here, as tensors, numbers and strings.

        Raises:
            TrainingError: an epoch is under way; take the state in ``after_training_epoch`` or between experiences.
        """
        return state_of(self)

    def load_state_dict(self, state: State) -> None:
        """Go on from ``state``, the next ``train`` being on the experience that follows.

        That is its own, which goes on after the state's epoch; or, of a state of its end, the next one.

        Raises:
            CheckpointError: the state is of another model, or of other plugins.
        """
        take_up_model(self, state)
        self.pending = state
        if is_finished(state):
            self.number, self.classes = state["experience"], list(state.get("classes", ()))
            self.epoch, self.finished = state["epoch"], True
            set_random_state(state["random"])

    def _before_training_exp(self, **kwargs: Any) -> None:
        self.number, self.classes = self.experience.current_experience, classes_of(self.experience)
        self.epoch, self.finished, self.resumable = 0, False, False
        super()._before_training_exp(**kwargs)

    def _take_up_training(self) -> None:
        if self.pending is not None:
            take_up_training(self, self.pending)
            self.pending = None

    def _after_training_exp(self, **kwargs: Any) -> None:
        super()._after_training_exp(**kwargs)
        self.finished = self.resumable = True


def classes_of(experience: Any) -> list[int]:
    """Return the labels that arrive in an experience."""
    return [int(label) for label in getattr(experience, "group", ())]


def state_of(strategy: Resumable) -> State:
    """Return everything that training needs to go on from here, as tensors, numbers and strings.

    ``experience`` is the number of the experience that was trained last, None before any; ``epoch`` counts its epochs;
    ``finished`` says whether nothing of it is left, memory and teacher included.

    Raises:
        TrainingError: an epoch, or what comes before or after all of them, is under way.
    """
    if not strategy.resumable:
        raise TrainingError(
            f"training on experience {strategy.number} is under way, and nothing can go on from within a step: take "
            "the state in after_training_epoch, or between two calls of train"
        )
    plugins = [plugin.state_dict(strategy) if hasattr(plugin, "state_dict") else None for plugin in strategy.plugins]
    now = snapshot({"model": trainable_state(strategy.model), "plugins": plugins})
    if strategy.pending is not None and not is_finished(strategy.pending):  # loaded, and not yet taken up as a whole
        return {**strategy.pending, **now}
    step = strategy.training_step
    return {
        "experience": strategy.number,
        "samples": getattr(getattr(strategy, "experience", None), "digest", None),
        "epoch": strategy.epoch,
        "finished": strategy.finished,
        "classes": list(strategy.classes),
        "steps": 0 if step.scheduler is None else strategy.schedule_steps,
        "kinds": {**_kinds(strategy), "schedule": class_name(step.scheduler)},
        **now,
        **step.state_dict(),
        "random": random_state(),
    }


def is_finished(state: State) -> bool:
    """Whether a state is one between experiences, or before the first."""
    return state["experience"] is None or bool(state.get("finished", False))


def take_up_model(strategy: Resumable, state: State) -> None:
    """Take up model and plugins (memory, teacher), which are needed before an experience begins.

    Raises:
        CheckpointError: the state is of another model, or of other plugins.
    """
    model, plugins = entry(state, "model", _WHAT), entry(state, "plugins", _WHAT)
    own = _kinds(strategy)
    check_same(state.get("kinds"), own, _WHAT)
    if len(plugins) != len(strategy.plugins):
        names = ", ".join(own["plugins"]) or "none"
        raise CheckpointError(f"{_WHAT} has {len(plugins)} plugins, expected {len(strategy.plugins)} ({names})")
    for name in ("experience", "epoch", "random"):
        entry(state, name, _WHAT)
    load_state(strategy.model, model, f"{_WHAT}: the model")
    for name, plugin, saved in zip(own["plugins"], strategy.plugins, plugins, strict=True):
        if saved is None and not hasattr(plugin, "load_state_dict"):
            continue
        try:
            plugin.load_state_dict(saved, strategy)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{_WHAT}: plugin {name} cannot take up its part ({type(error).__name__}: {error}): expected what its "
                "state_dict returned"
            ) from error


def take_up_training(strategy: Resumable, state: State) -> None:
    """Take up optimizer, schedule, generators and epoch, once the experience is set up.

    Raises:
        CheckpointError: the state is of another optimizer or schedule, or of other samples.
    """
    check_samples(strategy.experience, state)
    check_same(state.get("kinds"), {"schedule": class_name(strategy.training_step.scheduler)}, _WHAT)
    if strategy.schedule_steps and state.get("steps"):
        check_same(state, {"steps": strategy.schedule_steps}, f"{_WHAT}: the schedule")
    strategy.training_step.load_state_dict(state, _WHAT)
    set_random_state(state["random"])
    strategy.epoch = state["epoch"]


def experiences_to_train(strategy: Resumable, state: State, experiences: Sequence[Any]) -> list[Any]:
    """Return what is to be trained on after ``state`` was loaded, where ``experiences`` were asked for.

    A state of the end of the last epoch of an experience is before memory and teacher are made: where the next
    experience follows, the one that it is of is finished first.

    Raises:
        CheckpointError: the first is not the experience that the state goes on with, or has other classes.
    """
    number, epoch, epochs = state["experience"], state["epoch"], strategy.train_epochs
    if number is None or not experiences:
        return list(experiences)
    asked = experiences[0].current_experience
    ended = is_finished(state) or epoch == epochs
    after = "its end" if is_finished(state) else f"epoch {epoch} of {epochs}"
    if epoch > epochs and not is_finished(state):
        raise CheckpointError(
            f"{_WHAT} is of epoch {epoch} of experience {number}, but the strategy has {epochs} epochs: expected at "
            f"least {epoch}"
        )
    if asked == number and not is_finished(state):
        check_same(state, {"classes": classes_of(experiences[0])}, _WHAT)
        return list(experiences)
    if asked != number + 1 or not ended:
        raise CheckpointError(
            f"{_WHAT} is of experience {number} after {after}: expected experience {number + ended} to be trained "
            f"next, got {asked}"
        )
    if is_finished(state):
        return list(experiences)
    stream = getattr(experiences[0], "origin_stream", ())
    before = next((each for each in stream if each.current_experience == number), None)
    if before is None:
        raise CheckpointError(
            f"{_WHAT} is of experience {number} after {after}, and the stream of experience {asked} does not have it: "
            f"train on experience {number} first"
        )
    return experiences_to_train(strategy, state, [before]) + list(experiences)


def _kinds(strategy: Resumable) -> dict[str, Any]:
    return {
        "plugins": [class_name(plugin) for plugin in strategy.plugins],
        "optimizer": class_name(strategy.optimizer),
    }


def check_samples(experience: Any, state: State) -> None:
    """Refuse a state that was made with other samples in the experience; older states do not say.

    Raises:
        CheckpointError: samples were added, removed or changed.
    """
    known, now = state.get("samples"), getattr(experience, "digest", None)
    same = experience is not None and state.get("experience") == experience.current_experience
    if same and known is not None and now is not None and known != now:
        raise CheckpointError(
            f"experience {experience.current_experience} has other samples than when the state was made: put the data "
            "back as they were, or start training again"
        )

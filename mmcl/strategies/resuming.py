"""Saving and resuming a strategy, between experiences or at the end of an epoch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from avalanche.training.templates import SupervisedTemplate

from mmcl.data.avalanche_streams import with_source
from mmcl.errors import CheckpointError, TrainingError
from mmcl.files.loading import check_same, class_name, entry, load_state, snapshot
from mmcl.freeze import trainable_state
from mmcl.seeding import random_state, set_random_state
from mmcl.training.step import TrainingStep

if TYPE_CHECKING:
    from avalanche.benchmarks.scenarios import CLExperience

State = dict[str, Any]

_WHAT = "the state of the strategy"


class Resumable(SupervisedTemplate):
    """Avalanche's supervised template, with a state that records its place in the stream.

    Evaluation leaves the random generators as they were, so it does not change the training that follows.

    Attributes:
        number: number of the current or last trained experience; None before the first.
        classes: labels that arrived in that experience.
        finished: whether that experience is complete, memory and teacher included.
        resumable: whether :meth:`state_dict` may be called now.
        pending: loaded state that is restored only in part; None otherwise.
    """

    number: int | None = None
    classes: Sequence[int] = ()
    finished = resumable = True
    pending: State | None = None

    # Set by MMCLTemplate.
    model: Any  # plugins call methods that only some models have, such as project_text
    epoch: int
    training_step: TrainingStep
    schedule_steps: int

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[CLExperience | Iterable[CLExperience]] | None = None,
        **kwargs: object,
    ) -> dict[str, Any]:
        """Train on one experience, or on several in order; see Avalanche.

        Raises:
            CheckpointError: a loaded state must be resumed with another experience.
        """
        if self.pending is not None:
            given = experiences if isinstance(experiences, Iterable) else [experiences]
            requested = [with_source(experience) for experience in given]
            experiences = experiences_to_train(self, self.pending, requested)
            if is_finished(self.pending):
                self.pending = None
        return super().train(experiences, eval_streams, **kwargs)

    def state_dict(self) -> State:
        """Return the state that resumes training from here, as tensors, numbers and strings.

        Raises:
            TrainingError: an epoch is running; call this in ``after_training_epoch`` or between experiences.
        """
        return state_of(self)

    def load_state_dict(self, state: State) -> None:
        """Restore a state. The next call of ``train`` resumes it.

        Pass ``train`` the state's experience if that was not finished, otherwise the next one.

        Raises:
            CheckpointError: the state belongs to another model, or to other plugins.
        """
        restore_model(self, state)
        self.pending = state
        if is_finished(state):
            self.number, self.classes = state["experience"], list(state.get("classes", ()))
            self.epoch, self.finished = state["epoch"], True
            set_random_state(state["random"])

    def _before_training_exp(self, **kwargs: object) -> None:
        with_source(self.experience)
        self.number, self.classes = self.experience.current_experience, classes_of(self.experience)
        self.epoch, self.finished, self.resumable = 0, False, False
        super()._before_training_exp(**kwargs)

    def _restore_training(self) -> None:
        if self.pending is not None:
            restore_training(self, self.pending)
            self.pending = None

    def _after_training_exp(self, **kwargs: object) -> None:
        super()._after_training_exp(**kwargs)
        self.finished = self.resumable = True

    def _before_eval_exp(self, **kwargs: object) -> None:
        with_source(self.experience)
        super()._before_eval_exp(**kwargs)

    def _before_eval(self, **kwargs: object) -> None:
        self._before_evaluation = random_state()  # making a DataLoader draws a random number
        super()._before_eval(**kwargs)

    def _after_eval(self, **kwargs: object) -> None:
        super()._after_eval(**kwargs)
        set_random_state(self._before_evaluation)


def classes_of(experience: CLExperience) -> list[int]:
    """Return the labels that arrive in an experience."""
    return [int(label) for label in getattr(experience, "group", ())]


def state_of(strategy: Resumable) -> State:
    """Return the state that resumes training from here, as tensors, numbers and strings.

    ``experience`` is the number of the last trained experience, None before the first. ``epoch`` is the number of its
    epochs trained so far. ``finished`` is True if it is complete, memory and teacher included.

    Raises:
        TrainingError: training is within an epoch, or in the steps before or after all epochs.
    """
    if not strategy.resumable:
        raise TrainingError(
            f"training on experience {strategy.number} cannot be saved within an epoch: call state_dict in "
            "after_training_epoch, or between two calls of train"
        )
    plugins = [plugin.state_dict(strategy) if hasattr(plugin, "state_dict") else None for plugin in strategy.plugins]
    now = snapshot({"model": trainable_state(strategy.model), "plugins": plugins})
    if strategy.pending is not None and not is_finished(strategy.pending):  # the optimizer is not restored yet
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
    """Whether a state was saved between experiences, or before the first."""
    return state["experience"] is None or bool(state.get("finished", False))


def restore_model(strategy: Resumable, state: State) -> None:
    """Restore the model and plugin states (memory, teacher) needed before an experience starts.

    Raises:
        CheckpointError: the state belongs to another model, or to other plugins.
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
                f"{_WHAT}: plugin {name} cannot load its state ({type(error).__name__}: {error}): expected the value "
                "that its state_dict returned"
            ) from error


def restore_training(strategy: Resumable, state: State) -> None:
    """Restore optimizer, schedule, random generators and epoch, after the experience is set up.

    Raises:
        CheckpointError: the state belongs to another optimizer or schedule, or to other samples.
    """
    check_samples(strategy.experience, state)
    check_same(state.get("kinds"), {"schedule": class_name(strategy.training_step.scheduler)}, _WHAT)
    if strategy.schedule_steps and state.get("steps"):
        check_same(state, {"steps": strategy.schedule_steps}, f"{_WHAT}: the schedule")
    strategy.training_step.load_state_dict(state, _WHAT)
    set_random_state(state["random"])
    strategy.epoch = state["epoch"]


def experiences_to_train(strategy: Resumable, state: State, experiences: Sequence[CLExperience]) -> list[CLExperience]:
    """Return the experiences to train on after loading ``state``, given the requested ``experiences``.

    A state saved after an experience's last epoch lacks the memory and teacher that this experience makes. If the next
    experience is requested, the saved one is therefore finished first.

    Raises:
        CheckpointError: the first experience is not the one that the state resumes with, or has other classes.
    """
    number, epoch, epochs = state["experience"], state["epoch"], strategy.train_epochs
    if number is None or not experiences:
        return list(experiences)
    requested = experiences[0].current_experience
    ended = is_finished(state) or epoch == epochs
    after = "its end" if is_finished(state) else f"epoch {epoch} of {epochs}"
    if epoch > epochs and not is_finished(state):
        raise CheckpointError(
            f"{_WHAT} was saved in epoch {epoch} of experience {number}, but the strategy has {epochs} epochs: "
            f"expected at least {epoch}"
        )
    if requested == number and not is_finished(state):
        check_same(state, {"classes": classes_of(experiences[0])}, _WHAT)
        return list(experiences)
    if requested != number + 1 or not ended:
        raise CheckpointError(
            f"{_WHAT} was saved in experience {number} after {after}: expected experience {number + ended} next, "
            f"got {requested}"
        )
    if is_finished(state):
        return list(experiences)
    stream = getattr(experiences[0], "origin_stream", ())
    before = next((each for each in stream if each.current_experience == number), None)
    if before is None:
        raise CheckpointError(
            f"{_WHAT} was saved in experience {number} after {after}, which the stream of experience {requested} "
            f"lacks: train on experience {number} first"
        )
    return experiences_to_train(strategy, state, [before]) + list(experiences)


def _kinds(strategy: Resumable) -> dict[str, Any]:
    return {
        "plugins": [class_name(plugin) for plugin in strategy.plugins],
        "optimizer": class_name(strategy.optimizer),
    }


def check_samples(experience: CLExperience, state: State) -> None:
    """Check that an experience has the samples that its state was saved with; older states do not record them.

    Raises:
        CheckpointError: samples were added, removed or changed.
    """
    known, now = state.get("samples"), getattr(experience, "digest", None)
    same = experience is not None and state.get("experience") == experience.current_experience
    if same and known is not None and now is not None and known != now:
        raise CheckpointError(
            f"experience {experience.current_experience} has other samples than when the state was saved: restore the "
            "data, or start training again"
        )

"""Teacher: a frozen copy of the model from before the experience, shared by all plugins."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from avalanche.core import SupervisedPlugin
from torch import Tensor, nn

from mmcl.batch import Batch, moved
from mmcl.encoders.feature_dataset import FeatureDataset
from mmcl.files.loading import load_state
from mmcl.freeze import freeze, frozen_copy, trainable_state

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoded
    from mmcl.strategies.template import MMCLTemplate

_MOST_PROJECTED = 50_000  # samples whose projections are kept, 200 MB in a space of 512 dimensions


class Teacher(SupervisedPlugin):
    """Copy and freeze the model at the end of each experience; weights that are frozen in the model are shared.

    The training loop adds this plugin if another one has ``needs_teacher``. :func:`teacher_of` returns the copy.

    Attributes:
        model: the teacher; None in the first experience.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model: nn.Module | None = None

    def after_training_exp(self, strategy: MMCLTemplate, **kwargs: object) -> None:
        """Copy the model as the teacher of the next experience, without a read-out: students learn from its head."""
        self.model = _copy(strategy.model, share_frozen=True)

    def state_dict(self, strategy: MMCLTemplate) -> dict[str, Any]:
        """Return the teacher's weights, without those frozen in the model, which every copy shares."""
        if self.model is None:
            return {}
        trained = trained_state(strategy.model)  # all weights of the teacher are frozen
        return {"teacher": {name: tensor for name, tensor in self.model.state_dict().items() if name in trained}}

    def load_state_dict(self, state: dict[str, Any], strategy: MMCLTemplate) -> None:
        """Restore the teacher.

        Raises:
            CheckpointError: the state belongs to another model.
        """
        self.model = None
        if "teacher" in state:
            model, trained = _copy(strategy.model), trained_state(strategy.model)
            load_state(model, state["teacher"], "the teacher's state", required=trained.keys())
            self.model = freeze(model)  # loading a head of another size makes new parameters


@contextmanager
def without_read_out(model: Any) -> Iterator[None]:
    """Context in which a model has no read-out: its head classifies, and copies have none."""
    readout = getattr(model, "readout", None)
    if readout is None:
        yield
        return
    model.readout = None
    try:
        yield
    finally:
        model.readout = readout


def _copy(model: nn.Module, *, share_frozen: bool = False) -> nn.Module:
    with without_read_out(model):
        return frozen_copy(model, share_frozen=share_frozen)


def trained_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: each for name, each in trainable_state(model).items() if not name.startswith("readout.")}


class Output(Protocol):
    """Output of a learner: logits, and the embedding that they are computed from."""

    @property
    def logits(self) -> Tensor: ...

    @property
    def embedding(self) -> Tensor: ...


class Learner(Protocol):
    """Methods of a model that plugins call; a plugin that needs a method checks that the model has it."""

    def __call__(self, batch: Batch) -> Output: ...

    def embed(self, batch: Batch) -> Tensor: ...

    def project_audio(self, embedding: Tensor) -> Tensor: ...

    def project_text(self, batch: Batch) -> Tensor: ...

    def encode(self, batch: Batch) -> Encoded: ...

    def teacher_forced(self, encoded: Encoded, targets: Tensor) -> Tensor: ...


def teacher_of(strategy: MMCLTemplate) -> Learner | None:
    """Return the model from before this experience; None in the first one, or if no plugin needs a teacher."""
    teachers = (plugin.model for plugin in strategy.plugins if isinstance(plugin, Teacher))
    return cast("Learner | None", next(teachers, None))


class TeacherProjections:
    """The teacher's projections of samples from the memory to the audio-text space.

    Those of cached features are computed once for an experience, because neither the features nor the teacher change.
    A memory of more than 50,000 samples is projected batch by batch, because its projections would need much memory.

    Args:
        strategy: strategy in training, whose loader is set.
        teacher: the teacher of its experience.
    """

    def __init__(self, strategy: MMCLTemplate, teacher: Learner) -> None:
        self.teacher = teacher
        self.places: dict[int, int] = {}
        source, loader = strategy.experience.source, strategy.dataloader
        if isinstance(source, FeatureDataset) and sum(loader.is_rehearsal.tolist()) <= _MOST_PROJECTED:
            rows = loader.rows[loader.is_rehearsal]
            batches = (source.batch(part).to(strategy.device) for part in rows.split(strategy.eval_mb_size))
            self.all = torch.cat([self._project(batch) for batch in batches], dim=1)
            self.places = {row: place for place, row in enumerate(rows.tolist())}

    def of(self, batch: Batch, positions: Sequence[int]) -> Tensor:
        """Return the projections of audio and text of the samples at some positions, ``(2, positions, dim)``."""
        if not self.places:
            return self._project(batch.take(positions))
        rows = batch["rows"].tolist()
        places = torch.tensor([self.places[rows[position]] for position in positions])
        return self.all[:, moved(places, self.all.device)]

    @torch.no_grad()
    def _project(self, batch: Batch) -> Tensor:
        return torch.stack([self.teacher.project_audio(self.teacher.embed(batch)), self.teacher.project_text(batch)])


def with_teacher(plugins: Sequence[SupervisedPlugin]) -> list[SupervisedPlugin]:
    """Return the plugins, preceded by a :class:`Teacher` if one is needed and missing."""
    needed = any(getattr(plugin, "needs_teacher", False) for plugin in plugins)
    present = any(isinstance(plugin, Teacher) for plugin in plugins)
    return [Teacher(), *plugins] if needed and not present else list(plugins)

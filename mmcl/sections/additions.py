"""Config sections of the additions in a strategy's name, and the plugins that they build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from mmcl.config.model import StrictModel
from mmcl.config.signature import section_of
from mmcl.sections.objectives import make_objective
from mmcl.sections.strategy_names import (
    CORE_TUNING,
    DISTILLATIONS,
    FIRST_SESSION,
    RELATIONAL,
    base_of,
    split_read_out,
)

if TYPE_CHECKING:
    from avalanche.core import SupervisedPlugin

    from mmcl.strategies.contrast import Contrast
    from mmcl.strategies.core_tuning import CoreTuning
    from mmcl.strategies.relational_distillation import RelationalDistillation


@section_of("mmcl.strategies.contrast:Contrast", without=("objective", "name"))
class ContrastSection(StrictModel):
    """An objective after a ``+`` in a strategy's name; see :class:`mmcl.strategies.contrast.Contrast`."""

    temperature: float = Field(0.1, gt=0, description="temperature of the objective; initial value if it is learned")
    learn_temperature: bool = Field(False, description="train the temperature, as in CLIP")

    def build(self, name: str, settings: StrictModel) -> Contrast:
        """Build the plugin of an objective.

        Args:
            name: name of the objective.
            settings: an :data:`~mmcl.sections.objectives.ObjectivesSection`.
        """
        from mmcl import distributed
        from mmcl.strategies.contrast import Contrast

        own = self.model_dump(include={"temperature", "learn_temperature"})
        objective = make_objective(name, settings, **own, gather=distributed.world_size() > 1)
        return Contrast(objective, name=name, **self.model_dump(exclude=set(own)))


@section_of("mmcl.strategies.relational_distillation:RelationalDistillation")
class RelationalSection(StrictModel):
    """Relational distillation, ``+relational_kd`` in a strategy's name."""

    def build(self) -> RelationalDistillation:
        """Build the plugin."""
        from mmcl.strategies.relational_distillation import RelationalDistillation

        return RelationalDistillation(**self.model_dump())


@section_of("mmcl.strategies.core_tuning:CoreTuning")
class CoreTuningSection(StrictModel):
    """Core-tuning, ``+core_tuning`` in a strategy's name."""

    def build(self) -> CoreTuning:
        """Build the plugin."""
        from mmcl.strategies.core_tuning import CoreTuning

        return CoreTuning(**self.model_dump())


class KnowledgeDistillationSection(StrictModel):
    """The distillations of decoders after a ``+`` in a strategy's name."""

    audio_weight: float = Field(1.0, ge=0, description="weight of audio_kd, the distillation of encoded audio")
    token_weight: float = Field(1.0, ge=0, description="weight of token_kd, the distillation of token probabilities")
    sequence_weight: float = Field(
        1.0, ge=0, description="weight of sequence_kd, the training on sequences decoded before the experience"
    )
    beams: int | None = Field(None, ge=1, description="width of the beam search of sequence_kd; none: seq2seq.beams")

    def build(self, name: str) -> SupervisedPlugin:
        """Build the plugin of one of :data:`DISTILLATIONS`."""
        from mmcl.strategies.distillation import AudioDistillation, TokenDistillation
        from mmcl.strategies.sequence_distillation import SequenceDistillation

        if name == "audio_kd":
            return AudioDistillation(self.audio_weight)
        if name == "token_kd":
            return TokenDistillation(self.token_weight)
        return SequenceDistillation(self.sequence_weight, self.beams)


def build_additions(name: str, config: Any) -> list[SupervisedPlugin]:
    """Build the plugins after ``+`` and ``@`` in a strategy's name, from the sections of a task's config."""
    strategy, readout = split_read_out(name)
    added = [_build_addition(each, config) for each in strategy.split("+")[1:]]
    is_plugin = readout is not None and base_of(name) != FIRST_SESSION  # which takes the read-out as an argument
    return [*added, config.readout.plugin(readout)] if is_plugin else added


def _build_addition(name: str, config: Any) -> SupervisedPlugin:
    """Build the plugin of a name after a ``+``, from the sections of a task's config."""
    if name in DISTILLATIONS:
        return config.knowledge_distillation.build(name)
    plugins = {RELATIONAL: config.relational, CORE_TUNING: config.core_tuning}
    return plugins[name].build() if name in plugins else config.contrast.build(name, config.objectives)

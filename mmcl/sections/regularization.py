"""Config sections of strategies that penalize changes of important parameters: ewc, si and mas."""

from __future__ import annotations

from typing import Any

from mmcl.config.model import StrictModel
from mmcl.config.signature import section_of


@section_of("mmcl.strategies.elastic_weights:ElasticWeights")
class EWCSection(StrictModel):
    """Elastic weight consolidation, ``ewc``; see :class:`mmcl.strategies.elastic_weights.ElasticWeights`."""


@section_of("mmcl.strategies.synaptic_intelligence:SynapticIntelligence")
class SISection(StrictModel):
    """Synaptic intelligence, ``si``; see :class:`mmcl.strategies.synaptic_intelligence.SynapticIntelligence`."""


@section_of("mmcl.strategies.memory_aware_synapses:MemoryAwareSynapses")
class MASSection(StrictModel):
    """Memory aware synapses, ``mas``; see :class:`mmcl.strategies.memory_aware_synapses.MemoryAwareSynapses`."""


class RegularizationSection(StrictModel):
    """Penalties for changes of important parameters."""

    ewc: EWCSection = EWCSection()
    si: SISection = SISection()
    mas: MASSection = MASSection()

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of a strategy; none for one without such a penalty.

        >>> RegularizationSection().settings("si"), RegularizationSection().settings("replay")
        ({'weight': 1.0, 'damping': 0.1}, {})
        """
        section: StrictModel | None = getattr(self, name) if name in type(self).model_fields else None
        return {} if section is None else section.model_dump()

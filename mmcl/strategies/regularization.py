"""Strategies that penalize changes of important parameters, without a memory: EWC, SI and MAS."""

from __future__ import annotations

from avalanche.core import SupervisedPlugin

from mmcl.strategies.elastic_weights import ElasticWeights
from mmcl.strategies.memory_aware_synapses import MemoryAwareSynapses
from mmcl.strategies.presets import preset
from mmcl.strategies.synaptic_intelligence import SynapticIntelligence


@preset(ElasticWeights)
def ewc(importance: ElasticWeights) -> list[SupervisedPlugin]:
    """Penalize changes of parameters by their Fisher information (EWC, Kirkpatrick et al. 2017).

    ``loss = cross-entropy + weight / 2 * sum_k sum_i F_ki (theta_i - theta_ki)^2``. EWC, arXiv 1612.00796, equation 3;
    with ``online``, online EWC, arXiv 1805.06370.
    """
    return [importance]


@preset(SynapticIntelligence)
def si(importance: SynapticIntelligence) -> list[SupervisedPlugin]:
    """Penalize changes of parameters by their part in lowering earlier losses (SI, Zenke et al. 2017).

    ``loss = cross-entropy + weight * sum_i O_i (theta_i - anchor_i)^2``. SI, arXiv 1703.04200, equations 3 to 5.
    """
    return [importance]


@preset(MemoryAwareSynapses)
def mas(importance: MemoryAwareSynapses) -> list[SupervisedPlugin]:
    """Penalize changes of parameters that the logits are sensitive to (MAS, Aljundi et al. 2018).

    ``loss = cross-entropy + weight * sum_i O_i (theta_i - anchor_i)^2``. MAS, arXiv 1711.09601, equations 2 and 3.
    """
    return [importance]

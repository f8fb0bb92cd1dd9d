"""Config sections of strategies with a memory, other than replay, icarl and coconut."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmcl.config.model import StrictModel
from mmcl.config.signature import section_of
from mmcl.sections.strategy_names import REHEARSAL

#: Settings of the memory that a strategy does not take.
_WITHOUT = {"er_ace": ("selection",), "gdumb": ("selection", "by_superclass"), "bic": ("by_superclass",)}


@section_of("mmcl.strategies.asymmetric_cross_entropy:AsymmetricCrossEntropy")
class ErAceSection(StrictModel):
    """The asymmetric cross-entropy of ``er_ace``; see :func:`mmcl.strategies.er_ace`."""


@section_of("mmcl.strategies.dark_experience:DarkExperience", without=("beta",))
class DerSection(StrictModel):
    """The stored logits of ``der``; see :func:`mmcl.strategies.der`."""


@section_of("mmcl.strategies.dark_experience:DarkExperience")
class DerPPSection(StrictModel):
    """The stored logits of ``der_pp``; see :func:`mmcl.strategies.der_pp`."""


class GDumbSection(StrictModel):
    """No settings beside the memory's size, of ``gdumb``; see :func:`mmcl.strategies.gdumb`."""


@section_of("mmcl.strategies.gradient_projection:GradientProjection")
class AGEMSection(StrictModel):
    """The projection of gradients of ``agem``; see :func:`mmcl.strategies.agem`."""


@section_of("mmcl.strategies.balanced_distillation:BalancedDistillation")
@section_of("mmcl.strategies.head_correction:WeightAlignment")
class WASection(StrictModel):
    """Distillation and weight alignment of ``wa``; see :func:`mmcl.strategies.wa`."""


@section_of("mmcl.strategies.balanced_distillation:BalancedDistillation")
@section_of("mmcl.strategies.head_correction:BiasCorrection")
class BiCSection(StrictModel):
    """Distillation and bias correction of ``bic``; see :func:`mmcl.strategies.bic`."""


@section_of("mmcl.strategies.lucir:LUCIR")
class LUCIRSection(StrictModel):
    """Cosine logits and the two terms of ``lucir``; see :func:`mmcl.strategies.lucir`."""


class RehearsalSection(StrictModel):
    """Strategies with a memory: ``er_ace``, ``der``, ``der_pp``, ``gdumb``, ``agem``, ``wa``, ``bic`` and ``lucir``."""

    er_ace: ErAceSection = ErAceSection()
    der: DerSection = DerSection()
    der_pp: DerPPSection = DerPPSection()
    gdumb: GDumbSection = GDumbSection()
    agem: AGEMSection = AGEMSection()
    wa: WASection = WASection()
    bic: BiCSection = BiCSection()
    lucir: LUCIRSection = LUCIRSection()

    def settings(self, memory: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return the arguments of each strategy.

        Args:
            memory: settings of the memory, such as ``memory_size``, of which each strategy takes those it has.
        """
        return {
            name: {key: value for key, value in memory.items() if key not in _WITHOUT.get(name, ())}
            | getattr(self, name).model_dump()
            for name in REHEARSAL
        }

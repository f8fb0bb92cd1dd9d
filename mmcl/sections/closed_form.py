"""Config sections of closed-form strategies and of read-outs after an ``@`` in a strategy's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmcl.config.model import StrictModel
from mmcl.config.signature import SignatureModel, section_of
from mmcl.sections.encoders import AudioSection, library_of
from mmcl.sections.strategy_names import CLOSED_FORM, FIRST_SESSION, base_of, read_out_of

if TYPE_CHECKING:
    from mmcl.models.readouts.base import ReadOut
    from mmcl.strategies.closed_form import ClosedForm


@section_of("mmcl.models.readouts.nearest_class_mean:NearestClassMean")
class NCMSection(StrictModel):
    """The nearest class mean, ``ncm``; see :class:`mmcl.models.readouts.NearestClassMean`."""


@section_of("mmcl.models.readouts.streaming_lda:StreamingLDA")
class SLDASection(StrictModel):
    """Streaming linear discriminant analysis, ``slda``; see :class:`mmcl.models.readouts.StreamingLDA`."""


@section_of("mmcl.models.readouts.ranpac:RanPAC")
class RanPACSection(StrictModel):
    """Ridge regression on random projections, ``ranpac``; see :class:`mmcl.models.readouts.RanPAC`."""


@section_of("mmcl.models.readouts.fecam:FeCAM")
class FeCAMSection(StrictModel):
    """Mahalanobis distances to class means, ``fecam``; see :class:`mmcl.models.readouts.FeCAM`."""


@section_of("mmcl.strategies.closed_form:ClosedForm", without=("readout",))
class ReadOutSection(SignatureModel):
    """Read-outs of closed-form strategies, and after an ``@``; see :class:`mmcl.strategies.closed_form.ClosedForm`."""

    ncm: NCMSection = NCMSection()
    slda: SLDASection = SLDASection()
    ranpac: RanPACSection = RanPACSection()
    fecam: FeCAMSection = FeCAMSection()

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings of one of :data:`CLOSED_FORM`."""
        section: StrictModel = getattr(self, name)
        return section.model_dump()

    def build(self, name: str) -> ReadOut:
        """Build one of :data:`CLOSED_FORM`."""
        from mmcl.models.readouts.described import READOUTS

        return READOUTS[name](**self.settings(name))

    def argument(self, strategy: str) -> dict[str, ReadOut]:
        """Return the argument ``readout`` of ``first_session``, by the name of the strategy; empty for others."""
        name = read_out_of(strategy)
        return {"readout": self.build(name)} if name and base_of(strategy) == FIRST_SESSION else {}

    def plugin(self, name: str) -> ClosedForm:
        """Build the plugin of a read-out after an ``@``."""
        from mmcl.strategies.closed_form import ClosedForm

        return ClosedForm(self.build(name), old_classes=self.old_classes)


def trains_encoder(encoder: AudioSection) -> bool:
    """Whether a config trains its encoder, or adapters or prompts in it.

    An encoder without pretrained weights is trained unless it is set to be frozen.

    >>> from mmcl.sections.encoders import AudioSection
    >>> trains_encoder(AudioSection(name="cnn")), trains_encoder(AudioSection(name="openai/whisper-base"))
    (True, False)
    """
    settings = encoder.model_dump()
    if encoder.added_weights():
        return True
    if settings["frozen"] is not None or settings["tune_from"] is not None:
        return not settings["frozen"]
    return library_of(encoder.name) == encoder.name


def check_frozen_encoder(names: Sequence[str], *, is_trained: bool) -> None:
    """Check that closed-form strategies get an encoder that needs no training.

    Args:
        names: names of strategies.
        is_trained: whether the encoder is trained.

    Raises:
        ConfigError: it is; names the setting to change.
    """
    from mmcl.errors import ConfigError

    if is_trained and (given := [name for name in names if name in CLOSED_FORM]):
        raise ConfigError(
            f"strategy '{given[0]}' trains nothing, but the encoder is trained: set encoder.frozen to true and leave "
            f"out encoder.tune_from, lora and prompts, or train it, as in first_session@{given[0]} or naive@{given[0]}"
        )

"""Config sections of encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import Field

from mmcl.config.model import StrictModel
from mmcl.config.signature import SignatureModel, section_of

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoder

EncoderSectionT = TypeVar("EncoderSectionT", bound="EncoderSection")


@section_of("mmcl.encoders.lora:LoRA")
class LoRASection(StrictModel):
    """Low-rank adapters that are trained in place of layers; see :class:`mmcl.encoders.lora.LoRA`."""


@section_of("mmcl.encoders.prompts:Prompts")
class PromptsSection(StrictModel):
    """A pool of prompts that is trained in place of layers; see :class:`mmcl.encoders.prompts.Prompts`."""


_LORA = (
    "low-rank adapters to train in place of the layers from tune_from on, or of all: rank, alpha, targets and dropout, "
    "such as {rank: 8}; none: no adapters"
)

_PROMPTS = (
    "a pool of prompts to train in front of layer tune_from, or of all: size, top_k, length and pooled, such as "
    "{size: 10}; none: no prompts"
)


class _Named(StrictModel):
    """Base of encoders: another encoder has other options, unless both are from the hub or from the same library."""

    options_of_name: ClassVar[tuple[str, ...]] = ("options", "tune_from", "lora", "prompts")

    lora: LoRASection | None = Field(None, description=_LORA)
    prompts: PromptsSection | None = Field(None, description=_PROMPTS)

    def added_weights(self) -> dict[str, Any]:
        """Return the settings of adapters and prompts, by name.

        >>> AudioSection(lora={"rank": 2}).added_weights()
        {'lora': {'rank': 2, 'alpha': 16.0, 'targets': None, 'dropout': 0.0}}
        """
        given = {"lora": self.lora, "prompts": self.prompts}
        return {name: each.model_dump() for name, each in given.items() if each is not None}

    @classmethod
    def shares_options(cls, former: str, name: str) -> bool:
        """Return whether both names are of the same kind."""
        return library_of(former) == library_of(name)


def library_of(name: str) -> str:
    """Return the library of an encoder, "hub" for a hub id or folder, or the name of one trained from scratch.

    >>> library_of("timm:resnet18"), library_of("openai/whisper-base"), library_of("cnn")
    ('timm', 'hub', 'cnn')
    """
    library, colon, _ = name.partition(":")
    return library if colon else "hub" if "/" in name else name


@section_of("mmcl.encoders.build:build_encoder", without=("modality", "name"))
class EncoderSection(_Named, SignatureModel):
    """An encoder of any modality; see :func:`mmcl.encoders.build_encoder`."""

    modality: Literal["audio", "text", "image", "tabular"] = Field("audio", description="modality of the input")
    name: str = Field("cnn", description="encoder: short name, hub id, folder, or library:model; see build_encoder")
    options: dict[str, Any] = Field({}, description="options of the encoder, such as {dim: 192} or {download: true}")

    def encoder(self, **options: Any) -> Encoder:
        """Build the encoder.

        Args:
            **options: options from the data; those of the config take precedence.
        """
        from mmcl.encoders import build_encoder

        settings: dict[str, Any] = {"frozen": self.frozen, "tune_from": self.tune_from, **options, **self.options}
        settings |= self.added_weights()
        if self.pooling is not None:
            settings["pooling"] = self.pooling
        return build_encoder(self.modality, self.name, **settings)

    def image_options(self, data: Any) -> dict[str, int]:
        """Return the options ``channels`` and ``size`` that a data set determines, if this encoder has them.

        Images that are not square keep their size.
        """
        from mmcl.data.modalities import image_shape

        if (self.modality, self.name) != ("image", "cnn") or (shape := image_shape(data)) is None:
            return {}
        channels, height, width = shape
        return {"channels": channels, **({"size": height} if height == width else {})}

    def following(self: EncoderSectionT, data: Any) -> EncoderSectionT:
        """Return this section with options from a data set, which those of the config override."""
        return self.model_copy(update={"options": {**self.image_options(data), **self.options}})


@section_of("mmcl.encoders.build:build_encoder", without=("modality", "name"))
class AudioSection(_Named):
    """An audio encoder; see :func:`mmcl.encoders.build_encoder`."""

    name: str = Field(
        "cnn",
        description="audio encoder: cnn, conformer, hub id, folder, or library:model; see build_encoder",
    )
    pooling: Literal["mean", "max", "mean_max", "own"] | None = Field(
        None, description="pooling over time; none: the default of the encoder"
    )
    options: dict[str, Any] = Field({}, description="options of the encoder, such as {dim: 192} or {download: true}")

    def build(self) -> Encoder:
        """Build the encoder."""
        return EncoderSection(modality="audio", **self.model_dump()).encoder()


class TextSection(_Named):
    """A text encoder, and the audio-text space."""

    name: str = Field(
        "words", description="text encoder: words (trained from scratch), or hub id or folder of a pretrained one"
    )
    projection: int = Field(512, ge=1, description="dimension of the audio-text space")
    options: dict[str, Any] = Field({}, description="options of the encoder, such as {dim: 256} or {download: true}")

    def build(self) -> Encoder:
        """Build the encoder."""
        from mmcl.encoders import build_encoder

        return build_encoder("text", self.name, **self.added_weights(), **self.options)

"""Encoders by name: the function build_encoder and the tables of all encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from mmcl.config.option_types import check_option_types
from mmcl.encoders.base import POOLINGS, Encoder
from mmcl.encoders.gate import local_path, without_weights
from mmcl.encoders.lora import LoRA
from mmcl.encoders.prompts import Prompts
from mmcl.errors import ConfigError
from mmcl.freeze import freeze
from mmcl.text.suggest import nearest

_OWN = ("own", *POOLINGS)
_Build = Callable[..., Encoder]


class _Builder(NamedTuple):
    """Function or class that builds an encoder, and its poolings; the first is the default."""

    module: str
    function: str
    poolings: tuple[str, ...] = POOLINGS

    def check_pooling(self, pooling: str | None) -> str:
        """Return ``pooling``, or the default for None; raise ConfigError if the encoder does not have it."""
        pooling = self.poolings[0] if pooling is None else pooling
        if pooling not in self.poolings:
            raise ConfigError(
                f"unknown pooling '{pooling}'{nearest(pooling, self.poolings)}, expected {_one_of(self.poolings)}"
            )
        return pooling

    def load(self, name: str) -> _Build:
        """Import the function, and with it the library of the encoder ``name``."""
        try:
            build: _Build = getattr(import_module(self.module), self.function)
        except ModuleNotFoundError as error:
            library = str(error.name).partition(".")[0]
            if library == "mmcl":
                raise
            package = _PACKAGES.get(library, library)
            raise ConfigError(f"'{name}' needs {library}, which is not installed: pip install {package}") from error
        return build


# modality -> name -> builder, for encoders trained from scratch
_SCRATCH: dict[str, dict[str, _Builder]] = {
    "audio": {"cnn": _Builder("mmcl.encoders.audio", "cnn"), "conformer": _Builder("mmcl.encoders.audio", "conformer")},
    "image": {"cnn": _Builder("mmcl.encoders.image", "ConvolutionImageEncoder")},
    "tabular": {"mlp": _Builder("mmcl.encoders.tabular", "TabularEncoder")},
    "text": {"words": _Builder("mmcl.encoders.text", "WordEncoder")},
}
# modality -> builder, for folders and models on the hub
_HUB: dict[str, _Builder] = {
    "audio": _Builder("mmcl.encoders.pretrained", "pretrained_audio"),
    "image": _Builder("mmcl.encoders.pretrained", "pretrained_image", _OWN),
    "text": _Builder("mmcl.encoders.pretrained", "pretrained_text", (*POOLINGS, "cls")),
}
# modality -> library -> a builder for all models, or model -> builder
_LIBRARIES: dict[str, dict[str, _Builder | dict[str, _Builder]]] = {
    "audio": {
        "speechbrain": {
            "ecapa": _Builder("mmcl.encoders.speechbrain_lobes", "ecapa", _OWN),
            "wav2vec2": _Builder("mmcl.encoders.speechbrain_lobes", "wav2vec2"),
        },
        "torchaudio": _Builder("mmcl.encoders.torchaudio_bundle", "torchaudio_audio"),
    },
    "image": {
        "open_clip": _Builder("mmcl.encoders.open_clip_towers", "open_clip_image", _OWN),
        "timm": _Builder("mmcl.encoders.timm_towers", "timm_image", _OWN),
        "torchvision": _Builder("mmcl.encoders.torchvision_towers", "torchvision_image", _OWN),
    },
    "text": {"open_clip": _Builder("mmcl.encoders.open_clip_towers", "open_clip_text", _OWN)},
}
_PACKAGES = {"open_clip": "open_clip_torch"}  # packages with another name than their library
_COMMON_OPTIONS = {"name", "frozen", "tune_from", "pooling", "lora", "prompts"}  # parameters of build_encoder itself


def build_encoder(
    modality: str,
    name: str | Path,
    *,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str | None = None,
    lora: LoRA | Mapping[str, Any] | None = None,
    prompts: Prompts | Mapping[str, Any] | None = None,
    **options: object,
) -> Encoder:
    """Build the encoder ``name`` of a modality.

    From scratch: ``cnn``, ``conformer`` (audio), ``cnn`` (image), ``mlp`` (tabular), ``words`` (text). From a library:

    * audio: ``torchaudio:WAV2VEC2_BASE``, ``speechbrain:ecapa``, ``speechbrain:wav2vec2``
    * image: ``open_clip:ViT-B-32``, ``timm:resnet18``, ``torchvision:resnet18``
    * text: ``open_clip:ViT-B-32``

    A pretrained encoder is named by a folder in the layout of transformers, or by ``"owner/model"`` on the hub. It is
    a Whisper, wav2vec 2.0, HuBERT or WavLM (audio), a ViT, DINOv2 or CLIP (image), or a BERT or similar model (text).
    Nothing is downloaded without ``download=True``. The option ``weights`` or ``pretrained`` of a library's network
    names a file, or weights of the library. Without it, weights are random, except in bundles of torchaudio.

    Args:
        modality: ``"audio"``, ``"image"``, ``"tabular"`` or ``"text"``.
        name: a name from above, a folder, or ``"owner/model"``.
        frozen: do not train the encoder; None freezes pretrained encoders without ``tune_from`` only. False trains
            image towers and networks of a library as a whole, and the layers of other pretrained encoders.
        tune_from: number of the first layer to train in a pretrained encoder. Convolutions and embeddings before the
            layers stay frozen.
        pooling: ``"mean"``, ``"max"``, ``"mean_max"``, ``"cls"`` or ``"own"``; None for ``"own"`` if the encoder has
            it, else ``"mean"``. ``"own"`` is the network's own pooled vector, ``"cls"`` the first token of a text.
        lora: adapters to train in place of layers from ``tune_from`` or the first on, a
            :class:`~mmcl.encoders.lora.LoRA` or its arguments, such as ``{"rank": 8}``; needs the extra ``peft``.
        prompts: prompts to train in front of layer ``tune_from`` or the first, a
            :class:`~mmcl.encoders.prompts.Prompts` or its arguments, such as ``{"size": 10}``.
        **options: options of the encoder, such as ``dim``.

    Raises:
        ConfigError: if a name or an option is unknown, options contradict each other, or a library is not installed.
        MissingDataError: if a folder, model or weights are not on this machine.
        DataError: if weights cannot be read, or do not fit the network.

    >>> encoder = build_encoder("audio", "cnn", pooling="mean_max")
    >>> encoder.modality, encoder.dim, encoder.pooled_dim, encoder.frozen
    ('audio', 128, 256, False)
    """
    builder, _ = _resolve(modality, name)
    common: dict[str, Any] = {"frozen": frozen, "tune_from": tune_from, "pooling": builder.check_pooling(pooling)}
    addition = _addition(lora, prompts)
    encoder = _built(modality, name, addition, options, **common)
    plain = {option: str(value) if isinstance(value, Path) else value for option, value in options.items()}
    added = {} if addition is None else {addition.key: addition.spec}
    encoder.spec = {"modality": modality, "name": str(name), **common, **added, **plain}
    return encoder


def check_encoder(modality: str, name: str | Path, **arguments: Any) -> None:
    """Check the arguments of :func:`build_encoder`, and raise its errors, without reading or downloading weights."""
    with without_weights():
        build_encoder(modality, name, **arguments)


def builder_of(modality: str, name: str) -> Callable[..., Encoder]:
    """Return the function or class that builds the encoder ``name``; its parameters are the encoder's options.

    Raises:
        ConfigError: as in :func:`build_encoder`.

    >>> "download" in signature(builder_of("audio", "openai/whisper-base")).parameters
    True
    """
    builder, _ = _resolve(modality, name)
    return builder.load(name)


def _addition(
    lora: LoRA | Mapping[str, Any] | None, prompts: Prompts | Mapping[str, Any] | None
) -> LoRA | Prompts | None:
    if lora is not None and prompts is not None:
        raise ConfigError("an encoder cannot have both lora and prompts: leave out one")
    if lora is not None:
        return LoRA.of(lora)
    return None if prompts is None else Prompts.of(prompts)


def _built(
    modality: str,
    name: str | Path,
    addition: LoRA | Prompts | None,
    options: Mapping[str, object],
    *,
    frozen: bool | None,
    tune_from: int | None,
    pooling: str,
) -> Encoder:
    builder, model = _resolve(modality, name)
    from_scratch = str(name) in _SCRATCH[modality]
    if frozen and tune_from is not None:
        raise ConfigError(f"frozen=True and tune_from={tune_from} of '{name}' contradict each other: leave out one")
    if addition is not None:
        if frozen or from_scratch:
            fault = "frozen=True contradicts it" if frozen else "it is trained from scratch"
            raise ConfigError(f"'{name}' cannot have {addition.key}, because {fault}: leave out one")
        addition.check()
        tune_from = tune_from or 0
    build = builder.load(str(name))
    _check_options(build, name, options)
    if from_scratch:
        return _from_scratch(build, name, frozen, tune_from, pooling, options)
    encoder = _from_library(build, model, frozen, tune_from, pooling, options)
    return encoder if addition is None else addition.added_to(encoder, str(name))


def _from_scratch(
    build: _Build,
    name: str | Path,
    frozen: bool | None,
    tune_from: int | None,
    pooling: str,
    options: Mapping[str, object],
) -> Encoder:
    if tune_from is not None:
        raise ConfigError(f"'{name}' is trained from scratch and has no pretrained layers: leave out tune_from")
    encoder = build(pooling=pooling, **options)
    if frozen:
        encoder.frozen = True
        freeze(encoder)
    return encoder


def _from_library(
    build: _Build,
    model: str | Path,
    frozen: bool | None,
    tune_from: int | None,
    pooling: str,
    options: Mapping[str, object],
) -> Encoder:
    parameters = signature(build).parameters
    training: dict[str, object] = {"frozen": frozen, "tune_from": tune_from}
    if "frozen" not in parameters:
        training = {"tune_from": 0 if frozen is False and tune_from is None else tune_from}
    names = (model,) if "name" in parameters else ()
    return build(*names, pooling=pooling, **training, **options)


def _check_options(build: _Build, name: str | Path, options: Mapping[str, object]) -> None:
    known = set(signature(build).parameters) - _COMMON_OPTIONS
    for option in options:
        if option not in known:
            raise ConfigError(
                f"unknown option '{option}' of '{name}'{nearest(option, known)}, expected {_one_of(known)}"
            )
    check_option_types(build, options, f"encoder '{name}'")


def _resolve(modality: str, name: str | Path) -> tuple[_Builder, str | Path]:
    """Return the builder of a name, and the name without its library."""
    if modality not in _SCRATCH:
        raise ConfigError(f"unknown modality '{modality}'{nearest(modality, _SCRATCH)}, expected {_one_of(_SCRATCH)}")
    if str(name) in _SCRATCH[modality]:
        return _SCRATCH[modality][str(name)], name
    libraries = _LIBRARIES.get(modality, {})
    library, colon, model = str(name).partition(":")
    path = None if colon and library in libraries else local_path(name)
    is_folder = path is not None and path.is_dir()
    if not colon or is_folder:
        if modality in _HUB and ("/" in str(name) or is_folder):
            return _HUB[modality], name
        known = [*_SCRATCH[modality], *(f"{each}:..." for each in sorted(libraries))]
        raise ConfigError(
            f"unknown {modality} encoder '{name}'{nearest(str(name), _SCRATCH[modality])}, expected one of "
            f"{', '.join(known)}" + (', a folder, or "owner/model" on the hub' if modality in _HUB else "")
        )
    if library not in libraries:
        raise ConfigError(
            f"unknown library '{library}' of {modality} encoder '{name}'{nearest(library, libraries)}, "
            f"expected {_one_of(libraries)}"
        )
    models = libraries[library]
    if isinstance(models, _Builder):
        return models, model
    if model not in models:
        raise ConfigError(
            f"unknown model '{model}' of {modality} encoder '{name}'{nearest(model, models)}, "
            f"expected {_one_of(models)}"
        )
    return models[model], model


def _one_of(names: Iterable[str]) -> str:
    return "one of " + ", ".join(sorted(names))

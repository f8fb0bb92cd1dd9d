"""build_encoder: the one way from a name to an encoder."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, NamedTuple

from mmcl.encoders.base import POOLINGS, Encoder
from mmcl.encoders.gate import place
from mmcl.errors import ConfigError
from mmcl.freeze import freeze
from mmcl.text.suggest import nearest

_OWN = ("own", *POOLINGS)


class _Builder(NamedTuple):
    """Where an encoder is made, and the poolings that it has, its default first."""

    module: str
    function: str
    poolings: tuple[str, ...] = POOLINGS


# modality -> name -> builder, of encoders trained from scratch
_SCRATCH: dict[str, dict[str, _Builder]] = {
    "audio": {"cnn": _Builder("mmcl.encoders.audio", "cnn"), "conformer": _Builder("mmcl.encoders.audio", "conformer")},
    "image": {"cnn": _Builder("mmcl.encoders.image", "ConvolutionImageEncoder")},
    "tabular": {"mlp": _Builder("mmcl.encoders.tabular", "TabularEncoder")},
    "text": {"words": _Builder("mmcl.encoders.text", "WordEncoder")},
}
# modality -> builder, of folders and of models on the hub
_HUB: dict[str, _Builder] = {
    "audio": _Builder("mmcl.encoders.pretrained", "pretrained_audio"),
    "image": _Builder("mmcl.encoders.pretrained", "pretrained_image", _OWN),
    "text": _Builder("mmcl.encoders.pretrained", "pretrained_text", (*POOLINGS, "cls")),
}
# modality -> library -> builder of any of its models, or model -> builder
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
_PACKAGES = {"open_clip": "open_clip_torch"}  # of libraries that are installed by another name
_SET_HERE = {"name", "frozen", "tune_from", "pooling"}


def build_encoder(
    modality: str,
    name: str | Path,
    *,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str | None = None,
    **options: Any,
) -> Encoder:
    """Build the encoder ``name`` of a modality.

    ========  =======================  ==========================================================================
    modality  from scratch             of a library
    ========  =======================  ==========================================================================
    audio     ``cnn``, ``conformer``   ``torchaudio:WAV2VEC2_BASE``, ``speechbrain:ecapa``, ``speechbrain:wav2vec2``
    image     ``cnn``                  ``open_clip:ViT-B-32``, ``timm:resnet18``, ``torchvision:resnet18``
    tabular   ``mlp``
    text      ``words``                ``open_clip:ViT-B-32``
    ========  =======================  ==========================================================================

    A folder in the layout of transformers or ``"owner/model"`` on the hub is pretrained: Whisper, wav2vec 2.0, HuBERT
    or WavLM (audio), ViT, DINOv2 or CLIP (image), BERT and its kin (text). Nothing is ever fetched without
    ``download=True``. Weights of a library's network are chosen by its option ``weights`` or ``pretrained``: a file, or
    what the library calls them; without, they are random (except in bundles of torchaudio).

    Args:
        modality: ``"audio"``, ``"image"``, ``"tabular"`` (vectors of numbers) or ``"text"``.
        name: as above.
        frozen: train nothing. None is True where there are pretrained weights, unless ``tune_from`` is given. False
            trains all of an image tower or of a library's network; of other pretrained encoders, all layers.
        tune_from: train the layers of a network from this one on; what is before them, such as convolutions and
            embeddings, stays frozen.
        pooling: ``"mean"``, ``"max"`` or ``"mean_max"`` over the sequence; ``"own"`` where the network itself makes a
            vector of its input, such as CLIP's embedding; ``"cls"`` of a pretrained text encoder. None is ``"own"``
            where there is one, else ``"mean"``.
        **options: of that encoder, such as ``dim``.

    Raises:
        ConfigError: an unknown modality, name, pooling or option, a library that is not installed, or ones that do not
            go together.
        MissingDataError: a folder, model or weights that are not on this machine.
        DataError: weights that cannot be read, or are not those of the network.

    >>> encoder = build_encoder("audio", "cnn", pooling="mean_max")
    >>> encoder.modality, encoder.dim, encoder.pooled_dim, encoder.frozen
    ('audio', 128, 256, False)
    """
    _check_modality(modality)
    from_scratch = str(name) in _SCRATCH[modality]
    builder, model = _chosen(modality, name)
    pooling = builder.poolings[0] if pooling is None else pooling
    if pooling not in builder.poolings:
        raise ConfigError(
            f"unknown pooling '{pooling}'{nearest(pooling, builder.poolings)}, expected {_one_of(builder.poolings)}"
        )
    if frozen and tune_from is not None:
        raise ConfigError(f"frozen=True and tune_from={tune_from} of '{name}' contradict each other: leave out one")

    build = getattr(_imported(builder.module, str(name)), builder.function)
    known = set(signature(build).parameters)
    for option in options:
        if option not in known - _SET_HERE:
            raise ConfigError(
                f"unknown option '{option}' of '{name}'{nearest(option, known - _SET_HERE)}, "
                f"expected {_one_of(known - _SET_HERE)}"
            )
    spec = {"modality": modality, "name": str(name), "frozen": frozen, "tune_from": tune_from, "pooling": pooling}
    spec |= {option: str(value) if isinstance(value, Path) else value for option, value in options.items()}
    if not from_scratch:
        training = {"frozen": frozen, "tune_from": tune_from}
        if "frozen" not in known:
            training = {"tune_from": 0 if frozen is False and tune_from is None else tune_from}
        named = (model,) if "name" in known else ()
        encoder: Encoder = build(*named, pooling=pooling, **training, **options)
        encoder.spec = spec
        return encoder
    if tune_from is not None:
        raise ConfigError(f"'{name}' is trained from scratch and has no pretrained layers: leave out tune_from")
    encoder = build(pooling=pooling, **options)
    encoder.spec = spec
    if frozen:
        encoder.frozen = True
        freeze(encoder)
    return encoder


def builder_of(modality: str, name: str) -> Callable[..., Encoder]:
    """Return what :func:`build_encoder` calls, whose parameters are the options of the encoder ``name``.

    Raises:
        ConfigError: as :func:`build_encoder`.

    >>> "download" in signature(builder_of("audio", "openai/whisper-base")).parameters
    True
    """
    _check_modality(modality)
    builder, _ = _chosen(modality, name)
    found: Callable[..., Encoder] = getattr(_imported(builder.module, name), builder.function)
    return found


def _check_modality(modality: str) -> None:
    if modality not in _SCRATCH:
        raise ConfigError(f"unknown modality '{modality}'{nearest(modality, _SCRATCH)}, expected {_one_of(_SCRATCH)}")


def _chosen(modality: str, name: str | Path) -> tuple[_Builder, str | Path]:
    """The builder that a name means, and what the name says of the model."""
    if str(name) in _SCRATCH[modality]:
        return _SCRATCH[modality][str(name)], name
    libraries = _LIBRARIES.get(modality, {})
    library, colon, model = str(name).partition(":")
    is_library = bool(colon) and library in libraries
    here = None if is_library else place(name)
    is_folder = here is not None and here.is_dir()
    if not colon or is_folder:
        if modality in _HUB and ("/" in str(name) or is_folder):
            return _HUB[modality], name
        short = [*_SCRATCH[modality], *(f"{each}:..." for each in sorted(libraries))]
        raise ConfigError(
            f"unknown {modality} encoder '{name}'{nearest(str(name), _SCRATCH[modality])}, expected one of "
            f"{', '.join(short)}" + (', a folder, or "owner/model" on the hub' if modality in _HUB else "")
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


def _imported(module: str, name: str) -> Any:
    """Import what makes the encoder, and with it the library."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        library = str(error.name).partition(".")[0]
        if library == "mmcl":
            raise
        package = _PACKAGES.get(library, library)
        raise ConfigError(f"'{name}' needs {library}, which is not installed: pip install {package}") from error


def _one_of(names: Any) -> str:
    return "one of " + ", ".join(sorted(names))

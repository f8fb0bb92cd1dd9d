"""build_encoder: the one way from a name to an encoder."""

from __future__ import annotations

from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from mmcl.data.base import nearest
from mmcl.encoders.base import POOLINGS, Encoder
from mmcl.errors import ConfigError
from mmcl.freeze import freeze

# modality -> name -> where it is made; the name None stands for folders and the hub
_BUILDERS: dict[str, dict[str | None, tuple[str, str]]] = {
    "audio": {
        "cnn": ("mmcl.encoders.audio", "cnn"),
        "conformer": ("mmcl.encoders.audio", "conformer"),
        None: ("mmcl.encoders.pretrained", "pretrained_audio"),
    },
    "text": {
        "words": ("mmcl.encoders.text", "WordEncoder"),
        None: ("mmcl.encoders.pretrained", "pretrained_text"),
    },
}


def build_encoder(
    modality: str,
    name: str | Path,
    *,
    frozen: bool | None = None,
    tune_from: int | None = None,
    pooling: str = "mean",
    **options: Any,
) -> Encoder:
    """Build the encoder ``name`` of a modality.

    Args:
        modality: ``"audio"`` or ``"text"``.
        name: ``"cnn"`` or ``"conformer"`` (audio) and ``"words"`` (text) are trained from scratch; a folder in the
            layout of transformers or ``"owner/model"`` on the hub is pretrained: Whisper, wav2vec 2.0, HuBERT or WavLM
            (audio), BERT and its kin (text). The hub is asked only with ``download=True``.
        frozen: train nothing. None is True for a pretrained encoder, unless ``tune_from`` is given.
        tune_from: train the layers of a pretrained encoder from this one on; what is before them, such as
            convolutions and embeddings, stays frozen.
        pooling: ``"mean"``, ``"max"`` or ``"mean_max"``; for a pretrained text encoder also ``"cls"``.
        **options: of that encoder, such as ``dim``.

    Raises:
        ConfigError: an unknown modality, name, pooling or option, or ones that do not go together.
        MissingDataError: a folder or model that is not on this machine.

    >>> encoder = build_encoder("audio", "cnn", pooling="mean_max")
    >>> encoder.modality, encoder.dim, encoder.pooled_dim, encoder.frozen
    ('audio', 128, 256, False)
    """
    if modality not in _BUILDERS:
        raise ConfigError(f"unknown modality '{modality}'{nearest(modality, _BUILDERS)}, expected {_one_of(_BUILDERS)}")
    builders = _BUILDERS[modality]
    short_names = [short for short in builders if short is not None]
    pretrained = str(name) not in short_names
    if pretrained and "/" not in str(name) and not Path(name).is_dir():
        raise ConfigError(
            f"unknown {modality} encoder '{name}'{nearest(str(name), short_names)}, expected {_one_of(short_names)}, "
            'a folder, or "owner/model" on the hub'
        )
    poolings = (*POOLINGS, "cls") if modality == "text" and pretrained else POOLINGS
    if pooling not in poolings:
        raise ConfigError(f"unknown pooling '{pooling}'{nearest(pooling, poolings)}, expected {_one_of(poolings)}")
    if frozen and tune_from is not None:
        raise ConfigError(f"frozen=True and tune_from={tune_from} of '{name}' contradict each other: leave out one")

    module, function = builders[None if pretrained else str(name)]
    build = getattr(import_module(module), function)
    known = set(signature(build).parameters) - {"name", "tune_from", "pooling"}
    for option in options:
        if option not in known:
            raise ConfigError(
                f"unknown option '{option}' of '{name}'{nearest(option, known)}, expected {_one_of(known)}"
            )
    if pretrained:
        first = 0 if frozen is False and tune_from is None else tune_from
        encoder: Encoder = build(name, tune_from=first, pooling=pooling, **options)
        return encoder
    if tune_from is not None:
        raise ConfigError(f"'{name}' is trained from scratch and has no pretrained layers: leave out tune_from")
    encoder = build(pooling=pooling, **options)
    if frozen:
        encoder.frozen = True
        freeze(encoder)
    return encoder


def _one_of(names: Any) -> str:
    return "one of " + ", ".join(sorted(names))

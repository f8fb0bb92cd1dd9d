"""Descriptions of encoders in the files of saved models, and encoders rebuilt from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

from mmcl.config.described import checked_settings
from mmcl.encoders.base import Encoder, tensors_hash
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.build import build_encoder, builder_of
from mmcl.encoders.gate import described_by, local_path, wrap_errors
from mmcl.encoders.lora import LoRA
from mmcl.encoders.prompts import Prompts
from mmcl.errors import CheckpointError

_ADDITIONS: dict[str, type] = {"lora": LoRA, "prompts": Prompts}
_WEIGHT_OPTIONS = ("weights", "pretrained", "source")  # options that name the weights
_COMMON = ("modality", "name", "frozen", "tune_from", "pooling", "lora", "prompts")


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Describe an encoder as plain data for :func:`rebuild_encoder`.

    Returns:
        ``encoder``: the arguments of ``build_encoder``. ``fingerprint``: the fingerprint of the encoder, or None if
        rebuilding does not reproduce its frozen weights because they are random. The model must then save them.

    Raises:
        CheckpointError: if the encoder was not built by ``build_encoder``.

    >>> describe_encoder(build_encoder("audio", "cnn", dim=16))["encoder"]
    {'modality': 'audio', 'name': 'cnn', 'frozen': None, 'tune_from': None, 'pooling': 'mean', 'dim': 16}
    """
    if encoder.spec is None:
        raise CheckpointError(f"the {encoder.modality} encoder cannot be described: build it with build_encoder")
    fingerprint: str | None = _identity(encoder)
    if _identity(build_encoder(**encoder.spec)) != fingerprint:
        fingerprint = None
    return {"encoder": encoder.spec, "fingerprint": fingerprint}


def rebuild_encoder(
    described: object,
    where: str | Path,
    *,
    download: bool = False,
    encoders: Sequence[Encoder] = (),
    sizes: Sizes | None = None,
) -> Encoder:
    """Rebuild an encoder from its description.

    Args:
        described: the output of :func:`describe_encoder`, read from an untrusted file.
        where: the folder of the model. The description cannot name paths outside it.
        download: download missing files; a value in the description is ignored.
        encoders: encoders built by the caller. One of the same modality replaces the description.
        sizes: sizes of the saved weights, which limit an encoder without pretrained weights.

    Raises:
        CheckpointError: if the description is invalid, names a path outside the folder, needs too many weights, or
            does not match the encoder.
        ConfigError: if ``build_encoder`` does not know the encoder.
        MissingDataError: if pretrained weights are not on this machine.
    """
    subject = f"the encoder that the model in {where} describes"
    if not isinstance(described, Mapping) or not {"encoder", "fingerprint"} <= described.keys():
        raise CheckpointError(f"{subject} is missing: copy the folder again from its source")
    arguments, options = _split(described["encoder"])
    spec, fingerprint = checked_settings(_Common, arguments, subject), described["fingerprint"]
    if not isinstance(fingerprint, str | None):
        raise CheckpointError(f"{subject} has fingerprint {fingerprint!r:.60}, expected a string or null")
    name = spec["name"]
    for key, kind in _ADDITIONS.items():
        if spec.get(key) is not None:
            checked_settings(kind, spec[key], f"{subject}: {key}")
    encoder = next((each for each in encoders if each.modality == spec["modality"]), None)
    if encoder is None:
        with described_by(where), wrap_errors(subject, error=CheckpointError), ExitStack() as stack:
            build = builder_of(spec["modality"], name)
            options = checked_settings(build, options, f"{subject}, '{name}'", without=(*_COMMON, "download"))
            if sizes is not None and not _is_pretrained(name, options):
                stack.enter_context(bounded(sizes, subject, error=CheckpointError))
            if "download" in signature(build).parameters:
                options["download"] = download
            encoder = build_encoder(**spec, **options)
            built = _identity(encoder)
    else:
        _check_options(encoder, {**arguments, **options}, where)
        built = _identity(encoder)
    former = getattr(encoder, "former_fingerprint", None)
    if fingerprint is not None and fingerprint != built and (former is None or fingerprint != former()):
        raise CheckpointError(
            f"{spec['modality']} encoder '{name}' differs from the encoder that {where} was trained with: use the "
            "original weights"
        )
    return encoder


class _Common:
    """Arguments of ``build_encoder`` that all encoders have."""

    def __init__(
        self,
        modality: str,
        name: str,
        frozen: bool | None = None,
        tune_from: int | None = None,
        pooling: str | None = None,
        lora: Mapping[str, Any] | None = None,
        prompts: Mapping[str, Any] | None = None,
    ) -> None: ...


def _identity(encoder: Encoder) -> str:
    """Return the fingerprint and, beside adapters or prompts, a hash of all frozen weights, which are not saved."""
    if not any((encoder.spec or {}).get(key) for key in _ADDITIONS):
        return encoder.fingerprint()
    frozen = {name: each for name, each in encoder.named_parameters() if not each.requires_grad}
    return f"{encoder.fingerprint()}; frozen {tensors_hash(frozen)}"


def _split(spec: Any) -> tuple[Any, Any]:
    """Split a description into the arguments that all encoders have, and the options of this one."""
    if not isinstance(spec, Mapping):
        return spec, spec
    common = {key: value for key, value in spec.items() if key in _COMMON}
    return common, {key: value for key, value in spec.items() if key not in (*_COMMON, "download")}


def _is_pretrained(name: str, options: Mapping[str, object]) -> bool:
    """Return True if the encoder has its own weights, which define its size."""
    bundle = name.startswith("torchaudio:") and options.get("pretrained", True) is not False
    hub = ":" not in name and ("/" in name or local_path(name) is not None)
    return bundle or hub or any(options.get(option) for option in _WEIGHT_OPTIONS)


def _check_options(encoder: Encoder, described: Mapping[str, object], where: object) -> None:
    """Raise CheckpointError if an encoder of the caller has other options than the described one."""
    for key, value in described.items():
        own = (encoder.spec or {}).get(key)
        if key not in ("name", "frozen", *_WEIGHT_OPTIONS) and own != value:
            raise CheckpointError(
                f"the {encoder.modality} encoder that was passed has {key}={own!r}, but the model in {where} was "
                f"trained with {value!r:.60}: build the encoder with that value"
            )

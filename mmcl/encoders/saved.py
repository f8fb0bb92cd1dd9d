"""Encoders in the files of a model: how each was built, and the name of what of it is not in these files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from inspect import signature
from pathlib import Path
from typing import Any

from mmcl.config.described import checked_settings
from mmcl.encoders.base import Encoder
from mmcl.encoders.bounded import Sizes, bounded
from mmcl.encoders.build import build_encoder, builder_of
from mmcl.encoders.gate import described_by, foreign, place
from mmcl.errors import CheckpointError

_PLACES = ("weights", "pretrained", "source")  # options that say where weights are
_COMMON = ("modality", "name", "frozen", "tune_from", "pooling")


def describe_encoder(encoder: Encoder) -> dict[str, Any]:
    """Describe an encoder in plain data, from which :func:`rebuild_encoder` builds it again.

    ``encoder`` is what ``build_encoder`` was called with. ``fingerprint`` names what of the encoder never changes and
    is had again from where it came, such as pretrained weights; it is None where it is not had again, because weights
    are random and frozen: a file of the model has to hold these.

    Raises:
        CheckpointError: the encoder was not made by ``build_encoder``.

    >>> describe_encoder(build_encoder("audio", "cnn", dim=16))["encoder"]
    {'modality': 'audio', 'name': 'cnn', 'frozen': None, 'tune_from': None, 'pooling': 'mean', 'dim': 16}
    """
    if encoder.spec is None:
        raise CheckpointError(f"the {encoder.modality} encoder cannot be described: expected one made by build_encoder")
    fingerprint: str | None = encoder.fingerprint()
    if build_encoder(**encoder.spec).fingerprint() != fingerprint:
        fingerprint = None
    return {"encoder": encoder.spec, "fingerprint": fingerprint}


def rebuild_encoder(
    described: Any,
    where: str | Path,
    *,
    download: bool = False,
    encoders: Sequence[Encoder] = (),
    sizes: Sizes | None = None,
) -> Encoder:
    """Build the encoder that :func:`describe_encoder` described.

    Args:
        described: what it returned, as read from a file of unknown origin.
        where: the folder of the model that it is of, which its names cannot lead out of.
        download: fetch what is not on this machine; what the description says of that does not count.
        encoders: that the caller has built; one of this modality is taken in place of the description.
        sizes: of the weights that an encoder without weights of its own will take.

    Raises:
        CheckpointError: it is no description, it names a place outside the folder, it asks for far more weights than
            there are, or the encoder is not the one that was described.
        ConfigError: it asks for what ``build_encoder`` does not have.
        MissingDataError: pretrained weights are not on this machine.
    """
    what = f"the encoder that the model in {where} describes"
    if not isinstance(described, Mapping) or not {"encoder", "fingerprint"} <= described.keys():
        raise CheckpointError(f"{what} is missing, expected what a model was saved with: copy the folder again")
    spec, fingerprint = checked_settings(_Common, _part(described["encoder"], True), what), described["fingerprint"]
    if not isinstance(fingerprint, str | None):
        raise CheckpointError(f"{what} has fingerprint {fingerprint!r:.60}, expected a string or null")
    name = spec["name"]
    encoder = next((each for each in encoders if each.modality == spec["modality"]), None)
    if encoder is None:
        with described_by(where), foreign(what, error=CheckpointError), ExitStack() as stack:
            build = builder_of(spec["modality"], name)
            options = checked_settings(
                build, _part(described["encoder"], False), f"{what}, '{name}'", without=(*_COMMON, "download")
            )
            if sizes is not None and not _is_pretrained(name, options):
                stack.enter_context(bounded(sizes, what, error=CheckpointError))
            if "download" in signature(build).parameters:
                options["download"] = download
            encoder = build_encoder(**spec, **options)
            built = encoder.fingerprint()
    else:
        _check_like(encoder, _part(described["encoder"], True) | _part(described["encoder"], False), where)
        built = encoder.fingerprint()
    former = getattr(encoder, "former_fingerprint", None)
    if fingerprint is not None and fingerprint != built and (former is None or fingerprint != former()):
        raise CheckpointError(
            f"{spec['modality']} encoder '{name}' is not the one that {where} was trained with: expected its weights "
            "of then"
        )
    return encoder


class _Common:
    """What every encoder is described by."""

    def __init__(
        self,
        modality: str,
        name: str,
        frozen: bool | None = None,
        tune_from: int | None = None,
        pooling: str | None = None,
    ) -> None: ...


def _part(spec: Any, common: bool) -> Any:
    """What all encoders have of a description, or the options of this one."""
    if not isinstance(spec, Mapping):
        return spec
    return {key: value for key, value in spec.items() if key != "download" and (key in _COMMON) == common}


def _is_pretrained(name: str, options: Mapping[str, Any]) -> bool:
    """Whether an encoder has weights, by which its sizes are known."""
    by_itself = name.startswith("torchaudio:") and options.get("pretrained", True) is not False
    hub = ":" not in name and ("/" in name or place(name) is not None)
    return by_itself or hub or any(options.get(option) for option in _PLACES)


def _check_like(encoder: Encoder, described: Mapping[str, Any], where: object) -> None:
    """Raise CheckpointError where an encoder that a caller built does other things than the one that was described."""
    for key, value in described.items():
        own = (encoder.spec or {}).get(key)
        if key not in ("name", "frozen", *_PLACES) and own != value:
            raise CheckpointError(
                f"the {encoder.modality} encoder that was passed has {key}={own!r}, and the model in {where} was "
                f"trained with {value!r:.60}: build it with that"
            )

"""Encoders in the files of a model: how each was built, and the name of what of it is not in these files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmcl.encoders.base import Encoder
from mmcl.encoders.build import build_encoder, takes_download
from mmcl.errors import CheckpointError


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


def rebuild_encoder(described: Mapping[str, Any], where: object, *, download: bool | None = None) -> Encoder:
    """Build the encoder that :func:`describe_encoder` described.

    Args:
        described: what it returned.
        where: what the description was read from, for errors.
        download: fetch what is not on this machine; None for what the description says of it.

    Raises:
        CheckpointError: it is no description, or the encoder is not the one that was described.
        ConfigError: it asks for what ``build_encoder`` does not have.
        MissingDataError: pretrained weights are not on this machine.
    """
    try:
        spec = dict(described["encoder"])
        modality, name, fingerprint = str(spec["modality"]), str(spec["name"]), described["fingerprint"]
        if download is not None:
            spec.pop("download", None)
            spec |= {"download": download} if takes_download(modality, name) else {}
        encoder = build_encoder(**spec)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{where} describes no encoder that can be built ({error}): expected what a model was saved with"
        ) from None
    former = getattr(encoder, "former_fingerprint", encoder.fingerprint)
    if fingerprint is not None and fingerprint not in (encoder.fingerprint(), former()):
        raise CheckpointError(
            f"{modality} encoder '{name}' is not the one that {where} was trained with: expected its weights of then"
        )
    return encoder

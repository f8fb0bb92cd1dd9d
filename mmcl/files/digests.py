"""Digests of saved models, which detect changed or damaged settings, tensors and files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcl.errors import CheckpointError, MMCLError

if TYPE_CHECKING:
    from torch import Tensor

KEY = "mmcl_digests"  #: key of the digests in ``config.json``
#: settings without a digest: they do not belong to the model, or are written later, for example during export
_APART = (KEY, "model_type", "mmcl_two_tower", "mmcl_version", "format", "transformers_version")


def stamped(content: Mapping[str, Any], tensors: Mapping[str, str], files: Iterable[Path] = ()) -> dict[str, Any]:
    """Return the settings of a model with digests of its tensors, of further files, and of the settings themselves.

    Models of older versions have no digests and are loaded without checks.

    >>> import torch
    >>> stamped({"dim": 8}, {"weight": tensor_digest(torch.zeros(2))})
    {'dim': 8,
     'mmcl_digests': {'tensors': {'weight': 'a0bc201966ef19bd'}, 'files': {}, 'settings': {'dim': 'a3382767cbd236fa'}}}
    """
    known = {path.name: file_digest(path) for path in sorted(files)}
    settings = {key: _digest(value) for key, value in content.items() if key not in _APART}
    return {**content, KEY: {"tensors": dict(sorted(tensors.items())), "files": known, "settings": settings}}


def tensor_digest(tensor: Tensor) -> str:
    """Return a digest of the dtype, shape and values of a tensor."""
    import torch

    plain = tensor.detach().cpu().contiguous()
    digest = blake2b(f"{plain.dtype} {tuple(plain.shape)}".encode(), digest_size=8)
    digest.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return a digest of the content of a file."""
    digest = blake2b(digest_size=8)
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def check_content(content: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError if a setting differs from what was saved to ``path``; ``download`` settings may differ."""
    for key, known in _texts(digests_of(content, path).get("settings", {}), f"{KEY}.settings of {path}").items():
        if key not in content or _digest(content[key]) != known:
            raise CheckpointError(
                f"{key} in {path} was changed after the model was saved: copy the file again from its source, or "
                f"remove its {KEY} to load the model as it is"
            )


def check_files(content: Mapping[str, Any], path: Path) -> None:
    """Raise CheckpointError if a file in the folder of ``path`` differs from what was saved; files may be missing."""
    for name, known in _texts(digests_of(content, path).get("files", {}), f"{KEY}.files of {path}").items():
        file = path.parent / Path(name).name
        if file.is_file() and file_digest(file) != known:
            raise CheckpointError(f"{file} was changed after the model was saved: copy it again from its source")


def check_tensors(content: Mapping[str, Any], path: Path, names: Iterable[str], get: Callable[[str], Tensor]) -> None:
    """Raise CheckpointError if a tensor differs from what was saved.

    Args:
        content: settings of the model, with digests.
        path: file of the settings.
        names: names of the tensors that exist.
        get: returns a tensor by name.
    """
    known = _texts(digests_of(content, path).get("tensors", {}), f"{KEY}.tensors of {path}")
    if not known:
        return
    names = set(names)
    if different := sorted(names ^ known.keys()):
        there = "is not among its digests" if different[0] in names else "is missing"
        raise CheckpointError(f"tensor '{different[0]}' beside {path} {there}: copy the folder again from its source")
    for name in sorted(names):
        if tensor_digest(get(name)) != known[name]:
            raise CheckpointError(
                f"tensor '{name}' beside {path} is damaged, its values differ from the saved ones: copy the weights "
                "again from their source"
            )


def check_tensor(
    name: str, given: Tensor, expected: Tensor | None, where: object, *, error: type[MMCLError] = CheckpointError
) -> None:
    """Raise ``error`` if a tensor has another kind of dtype than expected, or values that are NaN or infinite.

    Args:
        name: name of the tensor.
        given: the loaded tensor.
        expected: the tensor of the model that it replaces; None expects floating point.
        where: the file, for errors.
        error: type of the error.
    """
    wanted = "float" if expected is None else dtype_kind(expected)
    if dtype_kind(given) != wanted:
        raise error(f"tensor '{name}' of {where} is {given.dtype}, expected {wanted}: copy the weights again")
    if wanted == "float" and not bool(given.isfinite().all()):
        raise error(
            f"tensor '{name}' of {where} has {int((~given.isfinite()).sum()):,} values that are not finite, expected "
            "none: copy the weights again, or train the model again"
        )


def dtype_kind(tensor: Tensor) -> str:
    """Return ``"float"``, ``"bool"``, ``"complex"`` or ``"int"``."""
    if tensor.is_floating_point():
        return "float"
    return "complex" if tensor.is_complex() else "bool" if str(tensor.dtype) == "torch.bool" else "int"


def digests_of(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the digests in the settings of a model, empty if there are none; raises CheckpointError if malformed."""
    digests = content.get(KEY, {})
    if not isinstance(digests, dict):
        raise CheckpointError(f"{KEY} of {path} is {str(digests)[:60]}, expected an object of digests")
    return digests


def _texts(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise CheckpointError(f"{where} is {str(value)[:60]}, expected an object of digests")
    return value


def _digest(value: object) -> str:
    return blake2b(json.dumps(_counted(value), sort_keys=True).encode(), digest_size=8).hexdigest()


def _counted(value: object) -> Any:
    if isinstance(value, Mapping):
        return {key: _counted(each) for key, each in value.items() if key != "download"}
    return [_counted(each) for each in value] if isinstance(value, list | tuple) else value

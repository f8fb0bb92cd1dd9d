"""Saving and loading of one checkpoint: a safetensors file with all other values as JSON in its header.

The file is written atomically, and loading it runs no code.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mmcl.errors import CheckpointError
from mmcl.files.atomic import written_whole
from mmcl.files.plain_json import parse_json

FORMAT = "1"
MAX_HEADER_BYTES = 90_000_000  # safetensors cannot read headers above 100 MB
_TENSOR, _PAIRS = "$tensor", "$pairs"


def save_checkpoint(path: str | Path, state: object) -> None:
    """Write ``state`` to ``path`` atomically, replacing an existing file.

    Args:
        path: The file, in an existing folder.
        state: Nested dicts (with string or integer keys), lists, tensors, strings, numbers, bools and None. Tuples are
            loaded as lists, tensors on the CPU, and references to the same tensor as one tensor.

    Raises:
        CheckpointError: The file cannot be written, or ``state`` has values of other types.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(f"{folder}/last.safetensors", {"epoch": 3, "weights": torch.tensor([0.1, 0.2])})
    ...     load_checkpoint(f"{folder}/last.safetensors")
    {'epoch': 3, 'weights': tensor([0.1000, 0.2000])}
    """
    path = Path(path)
    packing = _Packing()
    structure = json.dumps(packing.pack(state, "state"))
    if len(structure) > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path} would have {len(structure):,} bytes apart from tensors, expected at most {MAX_HEADER_BYTES:,}: "
            "store long lists of numbers as tensors"
        )
    try:
        with written_whole(path) as temporary:
            metadata = {
                "mmcl_checkpoint": FORMAT,
                "state": structure,
                "checksum": _checksum(structure, packing.tensors),
            }
            save_file(packing.tensors, temporary, metadata=metadata)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write checkpoint {path} ({error}): free disk space or choose another folder, then resume; "
            "the previous checkpoint is intact"
        ) from None


def load_checkpoint(path: str | Path) -> Any:
    """Load the state that :func:`save_checkpoint` wrote.

    Raises:
        CheckpointError: The file is missing, damaged, or not a checkpoint of this format.
    """
    structure, tensors = _read(Path(path), with_tensors=True)
    return _unpacked(structure, tensors, path)


def peek_checkpoint(path: str | Path) -> Any:
    """Load a checkpoint with None for each tensor, reading only the header of the file.

    Raises:
        CheckpointError: As for :func:`load_checkpoint`.
    """
    structure, _ = _read(Path(path), with_tensors=False)
    return _unpacked(structure, None, path)


class _Packing:
    """Replaces tensors by references, and dicts that JSON cannot represent by lists of pairs."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._names: dict[tuple[object, ...], str] = {}
        self._storages: set[int] = set()

    def pack(self, value: object, where: str) -> object:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Tensor):
            return {_TENSOR: self._name(value, where)}
        if isinstance(value, list | tuple):
            return [self.pack(item, f"{where}.{index}") for index, item in enumerate(value)]
        if isinstance(value, dict):
            for key in value:
                if isinstance(key, bool) or not isinstance(key, str | int):
                    raise CheckpointError(f"{where} has the key {key!r}, expected strings or integers as keys")
            packed = [(key, self.pack(item, f"{where}.{key}")) for key, item in value.items()]
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return dict(packed)
            return {_PAIRS: packed}
        raise CheckpointError(
            f"{where} is a {type(value).__name__}, expected tensors, numbers, strings, lists and dicts: "
            "convert it before saving"
        )

    def _name(self, tensor: Tensor, where: str) -> str:
        if tensor.layout != torch.strided or tensor.is_quantized:
            raise CheckpointError(f"{where} is a tensor of layout {tensor.layout}, expected a dense one: convert it")
        storage = tensor.untyped_storage().data_ptr()
        identity = (storage, tensor.storage_offset(), tensor.dtype, tensor.device, tensor.shape, tensor.stride())
        if identity not in self._names or not storage:
            plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
            # safetensors refuses tensors with shared memory, and stores the whole storage of a slice
            if plain.untyped_storage().data_ptr() in self._storages or plain.nbytes < plain.untyped_storage().nbytes():
                plain = plain.clone()
            self._storages.add(plain.untyped_storage().data_ptr())
            name = where.removeprefix("state.")
            while name in self.tensors:  # {"a": {"b": x}, "a.b": y}
                name += "'"
            self.tensors[name] = plain
            self._names[identity] = name
        return self._names[identity]


def _checksum(structure: str, tensors: dict[str, Tensor], *, shapes: bool = True) -> str:
    """Compute the checksum of a file's content; files of older versions were summed without ``shapes``."""
    checksum = zlib.crc32(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        header = f"{name} {tensor.dtype} {list(tensor.shape)}" if shapes else name
        checksum = zlib.crc32(tensor.flatten().view(torch.uint8).numpy().data, zlib.crc32(header.encode(), checksum))
    return f"{checksum:08x}"


def _unpacked(structure: object, tensors: dict[str, Tensor] | None, path: str | Path) -> Any:
    """Restore a packed state, with None for each tensor if ``tensors`` is None."""

    def unpack(value: object) -> Any:
        if isinstance(value, list):
            return [unpack(item) for item in value]
        if not isinstance(value, dict):
            return value
        if _TENSOR in value:
            return None if tensors is None else tensors[value[_TENSOR]]
        pairs = value[_PAIRS] if _PAIRS in value else value.items()
        return {key: unpack(item) for key, item in pairs}

    try:
        return unpack(structure)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint {path} is damaged ({error!r}): delete it and resume") from None


def _read(path: Path, with_tensors: bool) -> tuple[object, dict[str, Tensor]]:
    if not path.is_file():  # reading a pipe would block
        raise CheckpointError(f"checkpoint {path} does not exist: check the path, or start a new run")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Copies, because the tensors are mapped from the file, which may be overwritten.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()} if with_tensors else {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"checkpoint {path} is damaged ({error}): delete it and resume from the previous one"
        ) from None
    version = header.get("mmcl_checkpoint")
    if version is None:
        raise CheckpointError(f"{path} is a safetensors file but not a checkpoint of mmcl: choose another file")
    if version != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {version}, expected {FORMAT}: resume it with the mmcl version that wrote it"
        )
    if with_tensors:
        for key, shapes in (("checksum", True), ("digest", False)):
            if header.get(key, "") not in ("", _checksum(header.get("state", ""), tensors, shapes=shapes)):
                raise CheckpointError(f"checkpoint {path} is damaged (wrong {key}): delete it and resume")
    if "state" not in header:
        raise CheckpointError(f"checkpoint {path} is damaged (no state): delete it and resume")
    try:
        return parse_json(header["state"], object, where="its state", error=CheckpointError), tensors
    except CheckpointError as error:
        reason = str(error).rpartition(":")[0]
        raise CheckpointError(f"checkpoint {path} is damaged ({reason}): delete it and resume") from None

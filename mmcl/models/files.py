"""The two files of a saved model: its description in JSON, and its weights in safetensors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmcl.encoders.gate import model_file
from mmcl.errors import CheckpointError
from mmcl.files.atomic import written_whole
from mmcl.files.digests import check_files, check_tensor, check_tensors, stamped, tensor_digest
from mmcl.files.plain_json import read_json

WEIGHTS = "model.safetensors"


def write_model(
    folder: Path, name: str, content: Mapping[str, Any], state: Mapping[str, Tensor], others: Iterable[Path] = ()
) -> None:
    """Write weights and description of a model, with digests of both.

    Args:
        folder: made if it is missing.
        name: of the description, such as ``config.json``.
        content: of it.
        state: the weights.
        others: further files of the model that are there already.

    Raises:
        CheckpointError: a file cannot be written.
    """
    # A copy each: matrices that are tied share memory, which the format does not have.
    state = {name: each.detach().cpu().clone(memory_format=torch.contiguous_format) for name, each in state.items()}
    text = _text(stamped(content, {name: tensor_digest(tensor) for name, tensor in state.items()}, others))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / WEIGHTS) as temporary:
            save_file(state, temporary)
        with written_whole(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write the model in {folder} ({error}): choose another folder") from None


def seal(folder: Path) -> None:
    """Write digests of all files of a model that is in a folder, known to be whole, into its ``config.json``.

    Raises:
        CheckpointError: a file cannot be read.
    """
    path, others = folder / "config.json", []
    state: dict[str, str] = {}
    content: dict[str, Any] = read_json(path, error=CheckpointError)
    for file in sorted(each for each in folder.iterdir() if each.is_file() and each != path):
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as weights:
                state |= {name: tensor_digest(weights.get_tensor(name)) for name in weights.keys()}  # noqa: SIM118
        elif file.suffix != ".md":
            others.append(file)
    with written_whole(path) as temporary:
        temporary.write_text(_text(stamped(content, state, others)), encoding="utf-8")


def read_model(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read description and weights of a model, and check the weights by the digests in the description.

    Raises:
        CheckpointError: a file is missing, damaged, or a link to a place outside the folder.
    """
    for file in (name, WEIGHTS):
        if model_file(folder, file, error=CheckpointError) is None:
            raise CheckpointError(f"there is no model in {folder} that can be read (it has no {file}): copy it again")
    described = read_json(folder / name, error=CheckpointError)
    check_files(described, folder / name)
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            state = {tensor: file.get_tensor(tensor) for tensor in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"there is no model in {folder} that can be read ({WEIGHTS}: {error}): copy it again"
        ) from None
    check_tensors(described, folder / name, state, state.__getitem__)
    return described, state


def put_state(model: nn.Module, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> None:
    """Put weights into a model.

    Args:
        model: built as the description says.
        state: the weights.
        expected: what of the model's own state they are.
        path: of the description.

    Raises:
        CheckpointError: they have other names or shapes than the model, are of another type, or are not finite.
    """
    weights, other = path.parent / WEIGHTS, f"is of another model: expected what {path.name} says"
    if names := sorted(state.keys() ^ expected.keys()):
        raise CheckpointError(f"{WEIGHTS} in {path.parent} {other}, which is not so of tensor '{names[0]}'")
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise CheckpointError(
                f"{WEIGHTS} in {path.parent} {other}, a tensor '{name}' of shape {tuple(expected[name].shape)}, and it "
                f"is {tuple(tensor.shape)}"
            )
        check_tensor(name, tensor, expected[name], weights)
    model.load_state_dict(dict(state), strict=False)


def _text(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

"""from_pretrained: the model in a folder that was exported, or in its copy on a hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

from mmcl.encoders.pretrained import HUB_NAME, located
from mmcl.errors import ConfigError, DataError, MissingDataError

TWO_TOWER = "mmcl_two_tower"  #: the kind of :class:`~mmcl.models.TwoTower` in ``config.json``
_FILES = ["*.json", "*.safetensors"]  # of a hub's repository; never a pickle


def from_pretrained(name: str | Path, download: bool = False) -> Any:
    """Load a model that ``mmcl export`` wrote, whose ``config.json`` says which kind it is, in evaluation mode.

    That is a :class:`~mmcl.models.TwoTower`, a :class:`~mmcl.models.SLUClassifier` (whose ``classes`` are the names of
    its labels), a :class:`~mmcl.models.SLUSeq2Seq`, or a :class:`~mmcl.models.text_to_text.TextToText` for any model in
    the layout of transformers that reads a text and writes one. Nothing but JSON and safetensors is read of it, and no
    code.

    Args:
        name: a folder, or ``"owner/model"`` on the hub, whose copy is looked for in ``MMCL_WEIGHTS`` as well.
        download: fetch the model, and pretrained encoders that it is built on, where they are not on this machine.

    Raises:
        MissingDataError: the model, or an encoder that it is built on, is not on this machine.
        ConfigError: it is a model of another kind.
        DataError: ``config.json`` or weights in the layout of transformers cannot be read.
        CheckpointError: other files are damaged, or an encoder is not the one that the model was trained with.
    """
    folder = _folder(name, download)
    content = _read(folder, name)
    kind = str(content.get("model_type"))
    if kind == TWO_TOWER or "mmcl_two_tower" in content:
        from mmcl.models.two_tower import TwoTower

        return TwoTower.load(folder, download=download)
    if kind.startswith("mmcl_slu_"):
        from mmcl.models.slu_folder import load_slu

        return load_slu(folder, download=download)
    if content.get("is_encoder_decoder") is True and kind != "whisper":
        from mmcl.models.text_to_text import TextToText

        longest = content.get("mmcl_longest")
        return TextToText.pretrained(folder, longest=longest if isinstance(longest, int) else 512).eval()
    raise ConfigError(
        f"'{name}' is a model of type '{kind}', expected one that mmcl export wrote, or a model such as t5; "
        "encoders are built by build_encoder"
    )


def _folder(name: str | Path, download: bool) -> Path:
    """The folder of that name, or that of a hub's model on this machine."""
    folder = Path(located(name))
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(name)):
        raise MissingDataError(f"there is no folder '{name}': expected one that mmcl export wrote")
    try:
        return Path(snapshot_download(str(name), local_files_only=not download, allow_patterns=_FILES))
    except (OSError, ValueError) as error:
        here = f"'{name}' is neither a folder nor a model on this machine: pass download=True to fetch it from the hub"
        told = f"'{name}' cannot be fetched from the hub: check its name and the network" if download else here
        raise MissingDataError(f"{told}, or pass the folder of a copy, or put that folder into MMCL_WEIGHTS") from error


def _read(folder: Path, name: str | Path) -> dict[str, Any]:
    """The description of a model: ``config.json``, or ``model.json`` of a run's."""
    path = next((path for path in (folder / "config.json", folder / "model.json") if path.is_file()), None)
    if path is None:
        raise MissingDataError(f"folder '{name}' has no config.json, expected one that mmcl export wrote")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}")
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} of '{name}' cannot be read ({error}): copy it again from its source") from error
    return content

"""from_pretrained: the model in a folder that was exported, or in its copy on a hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcl.encoders.gate import HUB_NAME, hub_folder, local_path, model_file
from mmcl.errors import CheckpointError, ConfigError, MissingDataError
from mmcl.files.plain_json import read_json

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoder

TWO_TOWER = "mmcl_two_tower"  #: the kind of :class:`~mmcl.models.TwoTower` in ``config.json``
_LONGEST = 100_000  #: tokens of a text
_FILES = ["config.json", "*.json", "*.safetensors"]  # of a hub's repository; never a pickle


def from_pretrained(name: str | Path, download: bool = False, *, encoders: Sequence[Encoder] = ()) -> Any:
    """Load a model that ``mmcl export`` wrote, whose ``config.json`` says which kind it is, in evaluation mode.

    That is a :class:`~mmcl.models.TwoTower`, a :class:`~mmcl.models.SLUClassifier` (whose ``classes`` are the names of
    its labels), a :class:`~mmcl.models.SLUSeq2Seq`, or a :class:`~mmcl.models.text_to_text.TextToText` for any model in
    the layout of transformers that reads a text and writes one. Nothing but JSON and safetensors is read of it, and no
    code. What its files name is on the hub or within its folder: other folders are not read, and nothing is fetched
    that the caller does not ask for.

    Args:
        name: a folder, or ``"owner/model"`` on the hub, whose copy is looked for in ``MMCL_WEIGHTS`` as well.
        download: fetch the model, and pretrained encoders that it is built on, where they are not on this machine.
        encoders: built by the caller with ``build_encoder``, each in place of the one of its modality that
            ``config.json`` describes, such as of a folder elsewhere. Its weights have to be those of then.

    Raises:
        MissingDataError: the model, or an encoder that it is built on, is not on this machine.
        ConfigError: it is a model of another kind.
        DataError: a model in the layout of transformers cannot be read.
        CheckpointError: files are damaged or were changed since they were written, name a place outside the folder,
            or an encoder is not the one that the model was trained with.
    """
    folder = _folder(name, download)
    content = _read(folder, name)
    kind = str(content.get("model_type"))
    if kind == TWO_TOWER or "mmcl_two_tower" in content:
        from mmcl.models.two_tower import TwoTower

        return TwoTower.load(folder, download=download, encoders=encoders)
    if kind.startswith("mmcl_slu_"):
        from mmcl.models.slu_folder import load_slu

        return load_slu(folder, download=download, encoders=encoders)
    if content.get("is_encoder_decoder") is True and kind != "whisper":
        from mmcl.models.text_to_text import TextToText

        longest = content.get("mmcl_longest", 512)
        if not isinstance(longest, int) or isinstance(longest, bool) or not 1 <= longest <= _LONGEST:
            raise CheckpointError(
                f"mmcl_longest in config.json of '{name}' is {longest!r:.60}, expected 1 to {_LONGEST}"
            )
        return TextToText.pretrained(folder, longest=longest).eval()
    raise ConfigError(
        f"'{name}' is a model of type '{kind}', expected one that mmcl export wrote, or a model such as t5; "
        "encoders are built by build_encoder"
    )


def _folder(name: str | Path, download: bool) -> Path:
    """The folder of that name, or that of a hub's model on this machine."""
    folder = local_path(name)
    if folder is not None and folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(str(name)):
        raise MissingDataError(f"there is no folder '{name}': expected one that mmcl export wrote")
    folder = hub_folder(str(name), _FILES, download=download)
    if folder is None:
        raise MissingDataError(
            f"'{name}' is neither a folder nor a model on this machine: pass download=True to fetch it from the hub, "
            "or pass the folder of a copy, or put that folder into MMCL_WEIGHTS"
        )
    return folder


def _read(folder: Path, name: str | Path) -> dict[str, Any]:
    """The description of a model: ``config.json``, or ``model.json`` of a run's."""
    for file in ("config.json", "model.json"):
        if (path := model_file(folder, file, error=CheckpointError)) is not None:
            content: dict[str, Any] = read_json(path, error=CheckpointError)
            return content
    raise MissingDataError(f"folder '{name}' has no config.json, expected one that mmcl export wrote")

"""from_pretrained: load an exported model from a folder or from the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from mmcl.encoders.gate import HUB_NAME, hub_folder, local_path, model_file
from mmcl.errors import CheckpointError, ConfigError, MissingDataError
from mmcl.files.plain_json import read_json

if TYPE_CHECKING:
    from mmcl.encoders.base import Encoder
    from mmcl.models.classifier import SLUClassifier
    from mmcl.models.saved import Description
    from mmcl.models.saved_classifiers import SavedClassifier
    from mmcl.models.seq2seq import SLUSeq2Seq
    from mmcl.models.text_to_text import TextToText
    from mmcl.models.two_tower import TwoTower

    Model: TypeAlias = TwoTower | SLUClassifier | SLUSeq2Seq | SavedClassifier | TextToText

TWO_TOWER = "mmcl_two_tower"  #: ``model_type`` of :class:`~mmcl.models.TwoTower` in ``config.json``
_LONGEST = 100_000  # tokens of a text
_FILES = ["config.json", "*.json", "*.safetensors"]  # files fetched from the hub; never a pickle


def from_pretrained(name: str | Path, download: bool = False, *, encoders: Sequence[Encoder] = ()) -> Model:
    """Load a model that ``mmcl export`` wrote, in evaluation mode.

    ``config.json`` says which kind of model it is: a :class:`~mmcl.models.TwoTower`, an
    :class:`~mmcl.models.SLUClassifier` (with the class names in ``classes``), an :class:`~mmcl.models.SLUSeq2Seq`, a
    classifier of texts or images (with the class names in ``names``), or a
    :class:`~mmcl.models.text_to_text.TextToText` for any text-to-text model in the layout of transformers.

    Only JSON and safetensors files are read, and no code is run. The files may name models on the hub or files within
    the folder; other folders are not read. Nothing is fetched without ``download``.

    Args:
        name: a folder, or ``"owner/model"`` on the hub. A copy in ``MMCL_WEIGHTS`` is found as well.
        download: fetch the model and its pretrained encoders if they are not on this machine.
        encoders: encoders from ``build_encoder`` to use in place of the described ones, matched by modality, such as
            those in another folder. Their weights must be those that the model was trained with.

    Returns:
        The model.

    Raises:
        MissingDataError: the model or one of its encoders is not on this machine.
        ConfigError: it is another kind of model.
        DataError: a model in the layout of transformers cannot be read.
        CheckpointError: a file is damaged, was changed since it was written, or names a place outside the folder; or an
            encoder is not the one that the model was trained with.
    """
    folder = _folder(name, download)
    content = _read(folder, name)
    kind = str(content.get("model_type"))
    if kind == TWO_TOWER or "mmcl_two_tower" in content:
        from mmcl.models.two_tower import TwoTower

        return TwoTower.load(folder, download=download, encoders=encoders)
    if kind.startswith("mmcl_slu_"):
        from mmcl.models.saved import load_slu

        return load_slu(folder, download=download, encoders=encoders)
    if kind in ("mmcl_text_classifier", "mmcl_image_classifier"):
        from mmcl.models.saved_classifiers import load_classifier

        return load_classifier(folder)
    if content.get("is_encoder_decoder") is True and kind != "whisper":
        from mmcl.models.text_to_text import TextToText

        longest = content.get("mmcl_longest", 512)
        if not isinstance(longest, int) or isinstance(longest, bool) or not 1 <= longest <= _LONGEST:
            raise CheckpointError(
                f"mmcl_longest in config.json of '{name}' is {longest!r:.60}, expected 1 to {_LONGEST}"
            )
        return TextToText.pretrained(folder, longest=longest).eval()
    raise ConfigError(
        f"'{name}' has model_type '{kind}', expected a model that mmcl export wrote, or one such as t5; use "
        "build_encoder for encoders"
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
            "pass the folder of a copy, or put the copy into MMCL_WEIGHTS"
        )
    return folder


def _read(folder: Path, name: str | Path) -> Description:
    """Return the description of a model: ``config.json``, or ``model.json`` if a run saved it."""
    for file in ("config.json", "model.json"):
        if (path := model_file(folder, file, error=CheckpointError)) is not None:
            content: Description = read_json(path, error=CheckpointError)
            return content
    raise MissingDataError(f"folder '{name}' has no config.json: expected a folder that mmcl export wrote")

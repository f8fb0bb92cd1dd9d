"""Saved classifiers of texts and of images: ``config.json``, ``model.safetensors``, and the student of texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from mmcl.encoders.bounded import Sizes, bounded
from mmcl.errors import CheckpointError
from mmcl.models.image_classifier import BACKBONES, ImageClassifier
from mmcl.models.saved import Description, load_model, write_model
from mmcl.models.text_classifier import TextClassifier
from mmcl.models.text_to_text import TextToText

TEXTS, IMAGES = "mmcl_text_classifier", "mmcl_image_classifier"  #: values of ``model_type`` in ``config.json``
STUDENT = "student"  #: folder of the student of a text classifier, in the layout of transformers
_FORMAT = 1
_LARGEST = 100_000  # tokens of a text, labels, or channels and pixels of an image

SavedClassifier: TypeAlias = TextClassifier | ImageClassifier


def save_classifier(model: SavedClassifier, folder: str | Path, classes: Sequence[str], size: int = 28) -> None:
    """Write a classifier to a folder, with digests of its files.

    Args:
        model: trained classifier. The discriminator of a text classifier serves training alone and is left out.
        folder: created if missing.
        classes: class names by label; those after the last label of the model are left out.
        size: height and width of the images that an image classifier was trained on, in pixels.

    Raises:
        CheckpointError: a file cannot be written, or there are fewer class names than labels.
        DataError: the student cannot be written.
    """
    folder = Path(folder)
    labels = len(model.head.seen) if isinstance(model, TextClassifier) else model.labels
    if len(classes) < labels:
        raise CheckpointError(f"got names of {len(classes)} classes, but the model has {labels} classes")
    content = {"model_type": IMAGES, "format": _FORMAT, "classes": list(classes[:labels])}
    if isinstance(model, TextClassifier):
        content |= {"model_type": TEXTS, "settings": {"longest": model.student.longest}}
        model.student.save(folder / STUDENT)
        write_model(folder, "config.json", content, _head(model))
        return
    content["settings"] = {"backbone": model.backbone, "channels": model.channels, "size": size}
    write_model(folder, "config.json", content, model.state_dict())


def load_classifier(folder: str | Path) -> SavedClassifier:
    """Load a classifier that :func:`save_classifier` wrote, in evaluation mode.

    Raises:
        CheckpointError: a file is missing, damaged or changed.
        DataError: the student cannot be read.
    """
    folder = Path(folder)
    path = folder / "config.json"

    def build(described: Description, sizes: Sizes) -> tuple[SavedClassifier, Mapping[str, Tensor]]:
        classes, settings, kind = (described.get(name) for name in ("classes", "settings", "model_type"))
        if described.get("format") != _FORMAT or not isinstance(settings, dict):
            raise CheckpointError(f"no classifier in {folder}: expected a folder that save_classifier wrote")
        if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
            raise CheckpointError(f"no model in {folder}: classes is {classes!r:.60}, expected a list of names")
        if kind == TEXTS:
            student = TextToText.pretrained(folder / STUDENT, longest=_count(settings, "longest", path))
            with bounded(sizes, path, error=CheckpointError):
                texts = TextClassifier(student)
                texts.grow(range(len(classes)))
            texts.names = tuple(classes)
            return texts, _head(texts)
        with bounded(sizes, path, error=CheckpointError):
            if kind != IMAGES or settings.get("backbone") not in BACKBONES:
                raise CheckpointError(f"{path} has model_type {kind!r:.60}, expected {TEXTS} or {IMAGES}")
            channels, size = (_count(settings, name, path) for name in ("channels", "size"))
            images = ImageClassifier(len(classes), settings["backbone"], channels)
            images.names, images.size = tuple(classes), size
            return images, images.state_dict()

    return load_model(folder, path.name, build)


def _head(model: TextClassifier) -> dict[str, Tensor]:
    return {name: each for name, each in model.state_dict().items() if name.startswith("head.")}


def _count(settings: Mapping[str, object], name: str, path: Path) -> int:
    value = settings.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _LARGEST:
        raise CheckpointError(f"{name} in {path} is {value!r:.60}, expected 1 to {_LARGEST}: copy the file again")
    return value

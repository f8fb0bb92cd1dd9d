"""Check that the samples of a data set have the modality that a task needs."""

from __future__ import annotations

from typing import Any

from mmcl.data.attributes import attributes_of
from mmcl.errors import ConfigError

MODALITIES = {"audio": "recordings", "image": "images", "text": "texts"}  #: modalities of samples, in words
_EXAMPLES = {"audio": "barista or fsdd", "image": "mnist or cifar10", "text": "slurp_text"}


def modalities_of(dataset: Any) -> tuple[str, ...]:
    """Return the modalities of the samples; the first sample is decoded if the data set does not state them.

    >>> class Said:
    ...     texts, labels = ["yes"], [0]
    ...     def __len__(self): return 1
    ...     def __getitem__(self, row): return {"audio": [0.0], "text": "yes", "label": 0}
    >>> modalities_of(Said())
    ('audio', 'text')
    """
    attributes = attributes_of(dataset)
    if attributes.modalities:
        return tuple(dict.fromkeys(attributes.modalities.values()))
    if attributes.utterances is not None:
        return ("audio", "text")
    sample = dataset[0] if len(dataset) else {}
    if not isinstance(sample, dict):
        return ("text",) if attributes.exercises is not None else ()
    return tuple(name for name in (*MODALITIES, "numbers") if name in sample)


def image_shape(dataset: Any) -> tuple[int, int, int] | None:
    """Return channels, height and width of the first image; None if samples have no images."""
    if (stated := attributes_of(dataset).image_shape) is not None:
        return stated
    if "image" not in modalities_of(dataset) or not len(dataset):
        return None
    channels, height, width = dataset[0]["image"].shape
    return channels, height, width


def check_modality(dataset: Any, modality: str, setting: str, otherwise: str = "") -> None:
    """Check that samples have a modality.

    Args:
        dataset: the data set.
        modality: ``"audio"``, ``"image"`` or ``"text"``.
        setting: setting that names the data set, for the error.
        otherwise: another setting that helps, such as ``"set model=encoder"``.

    Raises:
        ConfigError: the samples lack the modality.
    """
    found = modalities_of(dataset)
    if modality in found:
        return
    has = " and ".join(MODALITIES.get(name, name) for name in found) or "neither recordings nor images"
    raise ConfigError(
        f"{setting} has {has}, but this task and its model need {MODALITIES[modality]}: set data.name to a data set of "
        f"{MODALITIES[modality]}, such as {_EXAMPLES[modality]} (`mmcl data ls` lists all), or to table for your own"
        + (f"; or {otherwise}" if otherwise else "")
    )

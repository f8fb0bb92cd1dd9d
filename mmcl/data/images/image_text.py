"""Base class of labelled images with one text each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from mmcl.data.base import Source, checked_root
from mmcl.errors import ConfigError, DataError, MissingDataError

if TYPE_CHECKING:
    from mmcl.batch import Sample


class Described(NamedTuple):
    """An image, its text, and the name of its class."""

    image: Path
    text: str
    name: str


class ImageTextDataset(ABC):
    """Base class of labelled images with a text each. A subclass implements ``_read`` for its owner's file layout.

    Args:
        root: folder of the data set in its owner's layout.
        split: one of ``splits``.
        size: images are resized so that the shorter side has ``size`` pixels, then center-cropped to a square.

    A sample has ``image`` ``(3, size, size)`` in [0, 1], ``text`` and ``label``.

    Raises:
        MissingDataError: the folder or a listed image does not exist; the message counts them.
        DataError: the split does not exist, an annotation cannot be read, or an image is damaged (on access).
        ConfigError: ``size`` is less than 1.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source | None] = None
    modalities: ClassVar[dict[str, str]] = {"image": "image", "text": "text"}

    def __init__(self, root: str | Path, split: str = "train", *, size: int = 224) -> None:
        self.root, self.split, self.size = checked_root(type(self), root, split), split, size
        if size < 1:
            raise ConfigError(f"size is {size}, expected at least 1 pixel")
        names, self.described = self._read()
        if not self.described:
            raise DataError(f"{self.root} has no images in split '{split}': check its annotations")
        if absent := [each.image for each in self.described if not each.image.is_file()]:
            raise MissingDataError(
                f"{len(absent)} of {len(self.described)} images of {self.root} do not exist, first {absent[0]}: "
                "copy them again from their source"
            )
        self.classes = tuple(sorted(set(names)))
        number = {name: label for label, name in enumerate(self.classes)}
        self.labels = [number[each.name] for each in self.described]
        self.texts = [each.text for each in self.described]

    @abstractmethod
    def _read(self) -> tuple[list[str], list[Described]]:
        """Return the names of all classes, and the images of ``self.split``."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        from mmcl.data.images.image_file import load_image

        each = self.described[index]
        image = load_image(each.image, self.size)
        return {"id": each.image.stem, "image": image, "text": each.text, "label": self.labels[index]}

"""Base class of labelled images of one size that are held in memory."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mmcl.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mmcl.batch import Batch, Sample

ImageSetT = TypeVar("ImageSetT", bound="ImageSet")


class ImageSet:
    """Base class of image data sets in memory. A subclass reads the images and calls ``_hold``.

    A sample has an ``image`` ``(channels, height, width)`` in [0, 1], and the name of its class as ``text``. ``+``
    concatenates splits of one data set.

    Attributes:
        labels, texts, ids: one item per image.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    classes: ClassVar[tuple[str, ...]] = ()
    root: Path
    split: str

    def _hold(self, images: Any, labels: Iterable[Any]) -> None:
        """Store images ``(images, channels, height, width)``, an array of bytes, and their labels.

        Raises:
            DataError: the numbers of images and labels differ, or a label is out of range.
        """
        import torch

        self._labels = torch.tensor([int(label) for label in labels], dtype=torch.long)
        if len(images) != len(self._labels):
            raise DataError(
                f"{self.root} has {len(images)} images and {len(self._labels)} labels, expected equal numbers"
            )
        if strange := [label for label in self._labels.tolist() if not 0 <= label < len(self.classes)]:
            raise DataError(
                f"{self.root} has label {strange[0]} in split '{self.split}', expected 0 to {len(self.classes) - 1}: "
                "copy it again from its source"
            )
        self._images = torch.from_numpy(images.copy())
        self.labels = self._labels.tolist()
        self.ids = [f"{self.split}-{row}" for row in range(len(self.labels))]

    @property
    def texts(self) -> list[str]:
        """Class name of each image."""
        return [self.classes[label] for label in self.labels]

    @property
    def arrays(self) -> list[Tensor]:
        """The images, ``(images, channels, height, width)``."""
        return [self._images]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        label = self.labels[index]
        image = self._images[index].float() / 255
        return {"id": self.ids[index], "image": image, "label": label, "text": self.classes[label]}

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        from mmcl.batch import Batch

        labels = self._labels[rows]
        text = [self.classes[label] for label in labels.tolist()]
        return Batch(image=self._images[rows].float() / 255, label=labels, text=text)

    def held(self) -> list[NDArray[np.generic]]:
        """Return the images as an array, for finding equal samples in two splits."""
        return [self._images.numpy()]

    def __add__(self: ImageSetT, other: ImageSetT) -> ImageSetT:
        """Concatenate two splits; raises DataError if they belong to different data sets."""
        import torch

        if type(self) is not type(other):
            raise DataError(f"{self.root} and {other.root} are different data sets, expected splits of one data set")
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined._images = torch.cat([self._images, other._images])
        joined._labels = torch.cat([self._labels, other._labels])
        joined.labels, joined.ids = self.labels + other.labels, self.ids + other.ids
        return joined

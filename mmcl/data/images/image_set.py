"""ImageSet: labelled images of one size, all in memory."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from mmcl.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from mmcl.batch import Batch, Sample

ImageSetT = TypeVar("ImageSetT", bound="ImageSet")


class ImageSet:
    """What data sets of images have in common once they are read: a subclass reads them, and calls ``_hold``.

    A sample has an ``image`` ``(channels, height, width)`` in [0, 1], and the name of its class as ``text``. Splits of
    one data set are joined by ``+``.

    Attributes:
        labels, texts, ids: one for each image.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    classes: ClassVar[tuple[str, ...]] = ()
    root: Path
    split: str

    def _hold(self, images: Any, labels: Iterable[Any]) -> None:
        """Keep images ``(images, channels, height, width)``, an array of bytes, and their labels.

        Raises:
            DataError: there are not as many of each, or a label is no class.
        """
        import torch

        self._labels = torch.tensor([int(label) for label in labels], dtype=torch.long)
        if len(images) != len(self._labels):
            raise DataError(f"{self.root} has {len(images)} images and {len(self._labels)} labels, expected as many")
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
        """Names of the images' classes."""
        return [self.classes[label] for label in self.labels]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        label = self.labels[index]
        image = self._images[index].float() / 255
        return {"id": self.ids[index], "image": image, "label": label, "text": self.classes[label]}

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``."""
        from mmcl.batch import Batch

        labels = self._labels[rows]
        text = [self.classes[label] for label in labels.tolist()]
        return Batch(image=self._images[rows].float() / 255, label=labels, text=text)

    def held(self) -> list[Any]:
        """The images as an array, in a list: what is compared to tell samples that two splits share."""
        return [self._images.numpy()]

    def __add__(self: ImageSetT, other: ImageSetT) -> ImageSetT:
        """Join two splits; raises DataError if they are of other data sets."""
        import torch

        if type(self) is not type(other):
            raise DataError(f"{self.root} and {other.root} are of different data sets, expected splits of one")
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined._images = torch.cat([self._images, other._images])
        joined._labels = torch.cat([self._labels, other._labels])
        joined.labels, joined.ids = self.labels + other.labels, self.ids + other.ids
        return joined

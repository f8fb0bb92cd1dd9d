"""Images that torchvision reads: all in memory, by its loaders, which check what they read against known digests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmcl.data.base import Source, checked_root
from mmcl.errors import DataError, MissingDataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mmcl.batch import Batch, Sample

_VALID = 5000  # the last images of the owner's training set, which has no validation split


class TorchvisionImages(ABC):
    """Read a set of labelled images; a subclass says by which of torchvision's loaders, in ``_read``.

    A sample has an ``image`` ``(channels, height, width)`` in [0, 1], and the name of its class as ``text``. Nothing is
    downloaded.

    Args:
        root: folder of the data set, in torchvision's layout.
        split: ``"train"`` (the owner's without the last 5,000), ``"valid"`` (those) or ``"test"``.

    Raises:
        MissingDataError: the folder is not there, or scipy, which reads MATLAB's files.
        DataError: there is no such split, or files are not the owner's.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source | None] = None
    classes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, root: str | Path, split: str = "train") -> None:
        import torch

        self.root, self.split = checked_root(type(self), root, split), split
        try:
            images, labels = self._read(self.root, split != "test")
        except (RuntimeError, OSError, ValueError, KeyError, EOFError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.root} cannot be read ({reason}): {self._source().offer()}") from error
        except ImportError as error:
            raise MissingDataError(f"{error.name} is not installed, which reads {self.root}: pip install it") from error
        first = max(0, len(images) - _VALID)
        part = {"train": slice(0, first), "valid": slice(first, None), "test": slice(None)}[split]
        self._images = torch.from_numpy(images[part].copy())
        self._labels = torch.tensor([int(label) for label in labels[part]])
        if not len(self._labels):
            raise DataError(f"{self.root} has 0 images in split '{split}', expected some: copy it again")
        self.labels = self._labels.tolist()
        self.texts = [self.classes[label] for label in self.labels]

    @staticmethod
    @abstractmethod
    def _read(root: Path, train: bool) -> tuple[NDArray[np.uint8], Any]:
        """Return images ``(images, channels, height, width)`` and their labels, of the owner's training or test set."""

    def _source(self) -> Source:
        assert self.source is not None  # every subclass says where it comes from
        return self.source

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        return {
            "id": f"{self.split}-{index}",
            "image": self._images[index].float() / 255,
            "label": self.labels[index],
            "text": self.texts[index],
        }

    def batch(self, rows: Tensor) -> Batch:
        """The batch of samples ``rows``, ``(batch,)``."""
        from mmcl.batch import Batch

        return Batch(
            image=self._images[rows].float() / 255,
            label=self._labels[rows],
            text=[self.texts[row] for row in rows.tolist()],
        )

"""Base class of image data sets that torchvision reads; torchvision checks the files before it trusts them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmcl.data.base import Source, checked_root
from mmcl.data.images.image_set import ImageSet
from mmcl.errors import DataError, MissingDataError, MMCLError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_VALID = 5000  # validation images: the last of the training set, since there is no official validation split


class TorchvisionImages(ImageSet, ABC):
    """Base class of labelled images in torchvision's layout. A subclass implements ``_read``.

    Nothing is downloaded.

    Args:
        root: folder of the data set, in torchvision's layout.
        split: ``"train"`` (the owner's without the last 5,000), ``"valid"`` (the last 5,000) or ``"test"``.

    Raises:
        MissingDataError: the folder does not exist, or scipy, which reads MATLAB files, is not installed.
        DataError: the split does not exist, or files are not the original ones.
    """

    source: ClassVar[Source | None] = None

    def __init__(self, root: str | Path, split: str = "train") -> None:
        self.root, self.split = checked_root(type(self), root, split), split
        try:
            images, labels = self._read(self.root, split != "test")
        except MMCLError:
            raise
        except (RuntimeError, OSError, ValueError, KeyError, EOFError) as error:
            hint = "copy it again" if self.source is None else self.source.offer()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(f"{self.root} cannot be read ({reason}): {hint}") from error
        except ImportError as error:
            raise MissingDataError(f"{error.name} is not installed, which reads {self.root}: pip install it") from error
        first = max(0, len(images) - _VALID)
        part = {"train": slice(0, first), "valid": slice(first, None), "test": slice(None)}[split]
        if not len(labels[part]):
            raise DataError(f"{self.root} has 0 images in split '{split}', expected at least 1: copy it again")
        self._hold(images[part], labels[part])

    @staticmethod
    @abstractmethod
    def _read(root: Path, train: bool) -> tuple[NDArray[np.uint8], Any]:
        """Return images ``(images, channels, height, width)`` and labels of the owner's training or test set."""

"""MNIST (LeCun, Cortes and Burges): handwritten digits as grey images of 28 x 28."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from mmcl.config.whole_numbers import whole_numbers
from mmcl.data.base import Source, checked_root
from mmcl.data.images.idx import read_idx
from mmcl.data.images.image_set import ImageSet
from mmcl.data.speech.spoken_digits import DIGITS
from mmcl.errors import DataError, LabelError

_FILES = {"train": "train", "valid": "train", "test": "t10k"}
_VALID = 5000  # validation images: the last of the training set, since there is no official validation split


class Mnist(ImageSet):
    """Read MNIST's idx files, plain or gzipped, into memory.

    A sample has an ``image`` ``(1, 28, 28)`` in [0, 1], and its digit as a word in ``text``.

    Args:
        root: folder with ``raw/train-images-idx3-ubyte`` and the other files in torchvision's layout, or with the files
            themselves.
        split: ``"train"`` (the owner's without the last 5,000), ``"valid"`` (the last 5,000) or ``"test"``.
        digits: keep images of these digits only; None keeps all. There are always ten classes.
        size: keep at most the first ``size`` of these images; None keeps all.

    Raises:
        MissingDataError: the folder or a file does not exist.
        DataError: the split does not exist, or a file is invalid.
        LabelError: ``digits`` has a number outside 0 to 9.
    """

    source: ClassVar[Source] = Source(
        name="mnist",
        folder="MNIST",
        marker=("raw", "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        owner="Yann LeCun, Corinna Cortes and Chris Burges",
        license="CC BY-SA 3.0",
        size="70,000 images, 11 MB",
        url="https://huggingface.co/datasets/ylecun/mnist or torchvision.datasets.MNIST(download=True)",
        note="10 handwritten digits",
    )
    classes = DIGITS

    def __init__(
        self, root: str | Path, split: str = "train", digits: Sequence[int] | None = None, size: int | None = None
    ) -> None:
        self.root, self.split = checked_root(Mnist, root, split), split
        digits = None if digits is None else whole_numbers(digits, "digits", error=LabelError)
        for digit in digits or ():
            if digit not in range(10):
                raise LabelError(f"digits has {digit!r}, expected numbers from 0 to 9")
        offer = self.source.offer()
        images = read_idx(self.root, f"{_FILES[split]}-images-idx3-ubyte", 3, offer)
        labels = read_idx(self.root, f"{_FILES[split]}-labels-idx1-ubyte", 1, offer)
        if len(images) != len(labels) or images.shape[1:] != (28, 28) or (len(labels) and labels.max() > 9):
            raise DataError(
                f"{self.root} has {len(images)} images of {images.shape[1:]} and {len(labels)} labels up to "
                f"{labels.max(initial=0)}, expected equal numbers, 28 x 28 and 0 to 9: copy it again"
            )
        first = max(0, len(images) - _VALID)
        part = {"train": slice(0, first), "valid": slice(first, None), "test": slice(None)}[split]
        images, labels = images[part], labels[part]
        if digits is not None:
            kept = np.isin(labels, digits)
            images, labels = images[kept], labels[kept]
        images, labels = images[:size], labels[:size]
        if not len(labels) or (size is not None and size < 1):
            raise DataError(
                f"{self.root} has 0 images with digits={digits}, size={size} in split '{split}', expected at least 1"
            )
        self._hold(images[:, None], labels)

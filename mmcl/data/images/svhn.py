"""SVHN (Netzer et al.): photographs of house numbers, cropped to single digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from mmcl.data.base import Source
from mmcl.data.images.torchvision_images import TorchvisionImages
from mmcl.data.speech.spoken_digits import DIGITS


class Svhn(TorchvisionImages):
    """Read SVHN's cropped digits, 99,289 images of 32 x 32; this needs scipy.

    Arguments, samples and errors are those of :class:`~mmcl.data.images.torchvision_images.TorchvisionImages`.
    """

    source: ClassVar[Source | None] = Source(
        name="svhn",
        folder="SVHN",
        marker=("train_32x32.mat", "test_32x32.mat"),
        owner="Yuval Netzer and others",
        license="for non-commercial use",
        size="99,289 images, 250 MB",
        url="http://ufldl.stanford.edu/housenumbers or torchvision.datasets.SVHN(download=True)",
        note="10 digits of house numbers",
    )
    classes: ClassVar[tuple[str, ...]] = DIGITS

    @staticmethod
    def _read(root: Path, train: bool) -> tuple[Any, Any]:
        from torchvision.datasets import SVHN

        data = SVHN(str(root), split="train" if train else "test", download=False)
        return data.data, data.labels

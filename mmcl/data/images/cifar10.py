"""CIFAR-10 (Krizhevsky): colour photographs of ten classes of animals and vehicles."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from mmcl.data.base import Source
from mmcl.data.images.torchvision_images import TorchvisionImages


class Cifar10(TorchvisionImages):
    """Read CIFAR-10, 60,000 images of 32 x 32, in its Python version. torchvision checks the digests of the files
    before it unpickles them.

    Arguments, samples and errors are those of :class:`~mmcl.data.images.torchvision_images.TorchvisionImages`.
    """

    source: ClassVar[Source | None] = Source(
        name="cifar10",
        folder="cifar-10-batches-py",
        marker=("data_batch_1",),
        owner="Alex Krizhevsky",
        license="none is stated",
        size="60,000 images, 170 MB",
        url="https://www.cs.toronto.edu/~kriz/cifar.html or torchvision.datasets.CIFAR10(download=True)",
        note="10 kinds of animals and vehicles",
    )
    classes: ClassVar[tuple[str, ...]] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )

    @staticmethod
    def _read(root: Path, train: bool) -> tuple[Any, Any]:
        from torchvision.datasets import CIFAR10

        data = CIFAR10(str(root.parent), train=train, download=False)
        return data.data.transpose(0, 3, 1, 2), data.targets

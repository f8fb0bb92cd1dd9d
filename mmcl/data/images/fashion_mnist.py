"""Fashion-MNIST (Zalando Research): grey images of clothes in the format of MNIST."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from mmcl.data.base import Source
from mmcl.data.images.idx import read_idx
from mmcl.data.images.torchvision_images import TorchvisionImages


class FashionMnist(TorchvisionImages):
    """Read Fashion-MNIST, 70,000 images of 28 x 28.

    Arguments, samples and errors are those of :class:`~mmcl.data.images.torchvision_images.TorchvisionImages`.
    """

    source: ClassVar[Source | None] = Source(
        name="fashion_mnist",
        folder="FashionMNIST",
        marker=("raw",),
        owner="Zalando Research",
        license="MIT",
        size="70,000 images, 30 MB",
        url="https://github.com/zalandoresearch/fashion-mnist or torchvision.datasets.FashionMNIST(download=True)",
        note="10 kinds of clothes",
    )
    classes: ClassVar[tuple[str, ...]] = (
        "t-shirt",
        "trousers",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )

    @staticmethod
    def _read(root: Path, train: bool) -> tuple[Any, Any]:
        part, offer = "train" if train else "t10k", FashionMnist.source.offer() if FashionMnist.source else ""
        images = read_idx(root, f"{part}-images-idx3-ubyte", 3, offer)
        return images[:, None], read_idx(root, f"{part}-labels-idx1-ubyte", 1, offer)

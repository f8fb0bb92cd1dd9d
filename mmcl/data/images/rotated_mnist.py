"""Rotated MNIST: handwritten digits turned by a random angle, which is the number to predict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from mmcl.config.numbers import Positive
from mmcl.data.base import Source, checked_root
from mmcl.data.images.mnist import Mnist
from mmcl.data.regression_set import RegressionSet
from mmcl.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 4096  # images that are rotated at a time


class RotatedMnist(RegressionSet):
    """Read MNIST, and turn each digit counterclockwise by a random angle, its target in degrees.

    Angles depend on the seed and the split only. With ``spread``, those of ``train`` are from a normal distribution
    around 0, cut off at ``largest``, so that large angles are rare. Other splits always have uniform angles, as the
    balanced test data of Yang et al. 2021 (arXiv 2102.09554).

    Args:
        root: folder as for :class:`~mmcl.data.Mnist`.
        split: as for :class:`~mmcl.data.Mnist`.
        size: keep at most the first ``size`` images; None keeps all.
        largest: largest angle in degrees; at most 180.
        spread: standard deviation of the training angles in degrees; None for uniform angles.
        bin_width: width of the bins of angles, which are the classes, in degrees.
        seed: seed of the angles.

    Raises:
        MissingDataError, DataError: as :class:`~mmcl.data.Mnist`.
        ConfigError: ``largest``, ``spread`` or ``bin_width`` is out of range.
    """

    source: ClassVar[Source] = Source(
        name="rotated_mnist",
        folder=Mnist.source.folder,
        marker=Mnist.source.marker,
        owner=Mnist.source.owner,
        license=Mnist.source.license,
        size=Mnist.source.size,
        url=Mnist.source.url,
        note="angle of rotated digits, for regression; rare angles with spread",
    )
    modalities: ClassVar[Mapping[str, str]] = {"image": "image"}

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        size: int | None = None,
        largest: Positive = 60.0,
        spread: Positive | None = None,
        bin_width: Positive = 2.0,
        seed: int = 0,
    ) -> None:
        import torch

        self.root, self.split = checked_root(RotatedMnist, root, split), split
        if not 0 < largest <= 180 or (spread is not None and spread <= 0) or not 0 < bin_width <= largest:
            raise ConfigError(
                f"largest is {largest}, spread {spread} and bin_width {bin_width}: expected 0 < largest <= 180, "
                "spread > 0, and 0 < bin_width <= largest"
            )
        digits = Mnist(root, split, size=size)
        generator = torch.Generator().manual_seed(len(self.splits) * seed + self.splits.index(split))
        shares = torch.rand(len(digits), generator=generator, dtype=torch.float64)
        angles = drawn_angles(shares, largest, spread if split == "train" else None)
        images = digits.batch(torch.arange(len(digits)))["image"]
        turned = torch.cat(
            [rotated(*part) for part in zip(images.split(_CHUNK), angles.float().split(_CHUNK), strict=True)]
        )
        count = math.ceil(2 * largest / bin_width)
        self._hold(turned, angles.tolist(), [min(-largest + bin_width * edge, largest) for edge in range(count + 1)])


def drawn_angles(shares: Tensor, largest: float, spread: float | None) -> Tensor:
    """Return angles from -largest to largest, normally distributed with deviation ``spread``, or uniformly.

    Args:
        shares: uniform random numbers in [0, 1).
        largest: largest angle.
        spread: standard deviation before the distribution is cut off at the largest angle; None for uniform angles.

    >>> import torch
    >>> drawn_angles(torch.tensor([0.0, 0.5, 0.75], dtype=torch.float64), 60.0, None).tolist()
    [-60.0, 0.0, 30.0]
    """
    import torch

    if spread is None:
        return largest * (2 * shares - 1)
    below = torch.special.ndtr(torch.tensor(-largest / spread, dtype=shares.dtype))
    angles: Tensor = spread * torch.special.ndtri(below + (1 - 2 * below) * shares)
    return angles


def rotated(images: Tensor, angles: Tensor) -> Tensor:
    """Turn each image counterclockwise by its angle, with bilinear interpolation and 0 outside.

    Args:
        images: square images ``(batch, channels, size, size)``.
        angles: degrees, ``(batch,)``.

    >>> import torch
    >>> rotated(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([90.0])).round(decimals=4).tolist()
    [[[[2.0, 4.0], [1.0, 3.0]]]]
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    radians, zero = angles * (math.pi / 180), torch.zeros_like(angles)
    cos, sin = radians.cos(), radians.sin()
    places = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    return grid_sample(images, affine_grid(places, list(images.shape), align_corners=False), align_corners=False)

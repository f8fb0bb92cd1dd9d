"""ImageInput: what every image encoder takes, and how a pretrained tower wants it resized and normalized."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, pad, resize

from mmcl.errors import ConfigError, InputError, ShapeError

LARGEST_SIDE = 8192  #: of what an encoder takes
RESIZES = ("shortest", "longest", "squash")


def checked_images(images: Tensor, channels: int) -> Tensor:
    """Return ``images`` with ``channels`` channels, once they are known to be images; grey ones are repeated.

    Args:
        images: floating point ``(batch, channels, height, width)`` in [0, 1]; 1 channel is grey.
        channels: what the encoder takes.

    Raises:
        ShapeError: another shape, or integers.
        InputError: values outside [0, 1].

    >>> checked_images(torch.rand(2, 1, 28, 28), 3).shape
    torch.Size([2, 3, 28, 28])
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point() or not images.numel():
        is_tensor = isinstance(images, Tensor)
        found = f"{images.dtype} of shape {tuple(images.shape)}" if is_tensor else type(images).__name__
        raise ShapeError(
            f"images are {found}, expected float (batch, channels, height, width) in [0, 1]: "
            "stack them, and divide bytes by 255"
        )
    if images.shape[1] not in (1, channels):
        expected = f"{channels}, or 1 for grey images" if channels > 1 else "1"
        raise ShapeError(
            f"images have {images.shape[1]} channels, expected {expected}: convert them, or choose an encoder for them"
        )
    low, high = (float(extreme) for extreme in images.detach().aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN included
        raise InputError(
            f"images have values from {low:g} to {high:g}, expected 0 to 1: divide bytes by 255, and leave the "
            "normalization to the encoder"
        )
    return images.expand(-1, channels, -1, -1)


class ImageInput(nn.Module):
    """Resize, crop and normalize images as the training of a pretrained tower did.

    ``(images - mean) / std`` of three channels, after resizing with antialiasing: ``"shortest"`` (the shorter side
    fits, the middle is kept), ``"longest"`` (the longer side fits, borders are filled) or ``"squash"`` (both fit).
    Cubic interpolation overshoots; its values are cut to [0, 1], as those of images of bytes are.

    Args:
        size: height and width of what the tower takes.
        mean, std: of the three channels.
        interpolation: ``"bicubic"``, ``"bilinear"``, ``"nearest"`` ...
        mode: how to resize.
        scale: height and width to resize to, before ``size`` is cut out of the middle; None for ``size``.
        fill: of borders, one for each channel.

    Raises:
        ConfigError: sizes or statistics that cannot be, such as a deviation that is not above 0.

    >>> ImageInput((8, 8), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(torch.ones(2, 1, 28, 40)).shape
    torch.Size([2, 3, 8, 8])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        size: tuple[int, int],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        interpolation: str = "bicubic",
        mode: str = "shortest",
        scale: tuple[int, int] | None = None,
        fill: Sequence[float] = (0.0, 0.0, 0.0),
    ) -> None:
        super().__init__()
        self.size = (int(size[0]), int(size[1]))
        self.scale = self.size if scale is None else (int(scale[0]), int(scale[1]))
        if not all(1 <= side <= LARGEST_SIDE for side in (*self.size, *self.scale)) or mode not in RESIZES:
            raise ConfigError(
                f"images are to be resized to {self.scale} by '{mode}' and cut to {self.size}, expected sides of 1 to "
                f"{LARGEST_SIDE} and one of {', '.join(RESIZES)}"
            )
        if len(tuple(mean)) != 3 or len(tuple(std)) != 3 or not all(0 < each < inf for each in std):
            raise ConfigError(f"images have mean {mean} and std {std}, expected three numbers each, and std above 0")
        self.interpolation = InterpolationMode(interpolation)
        self.mode = mode
        self.fill = tuple(fill)
        if not all(0 < deviation < torch.inf for deviation in std):
            raise ConfigError(f"std of images is {tuple(std)}, expected a deviation above 0 for each channel")
        if not all(abs(value) < torch.inf for value in mean):
            raise ConfigError(f"mean of images is {tuple(mean)}, expected finite numbers")
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Return ``(batch, 3, *size)`` of images in [0, 1]."""
        images = checked_images(images, 3)
        target = self._target(*images.shape[2:])
        if target != tuple(images.shape[2:]):
            images = resize(images, list(target), self.interpolation, antialias=True).clamp(0, 1)
        if self.mode == "longest":
            images = self._bordered(images)
        return (center_crop(images, list(self.size)) - self.mean) / self.std

    def fingerprint(self) -> str:
        """Name what this computes."""
        mean, std = ([round(value, 6) for value in part.flatten().tolist()] for part in (self.mean, self.std))
        fill = f" filled {self.fill}" if self.mode == "longest" else ""
        how = f"{self.mode} {self.interpolation.value} {self.scale} cut {self.size}{fill}"
        return f"images 1: {how}, mean {mean}, std {std}"

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """The height and width to resize to."""
        rows, columns = self.scale
        if self.mode == "squash":
            return rows, columns
        if self.mode == "shortest" and rows == columns:  # as torchvision rounds
            short, long = sorted((height, width))
            longer = int(rows * long / short)
            return (longer, rows) if height > width else (rows, longer)
        choose = max if self.mode == "longest" else min
        ratio = choose(height / rows, width / columns)
        return round(height / ratio), round(width / ratio)

    def _bordered(self, images: Tensor) -> Tensor:
        """Fill borders up to ``size``."""
        rows, columns = (max(0, size - there) for size, there in zip(self.size, images.shape[2:], strict=True))
        sides = [columns // 2, rows // 2, (columns + 1) // 2, (rows + 1) // 2]
        parts = [pad(images[:, [number]], sides, fill=value) for number, value in enumerate(self.fill)]
        return torch.cat(parts, dim=1)

"""Validation of image batches, and the preprocessing of pretrained image networks."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import center_crop, pad, resize

from mmcl.errors import ConfigError, InputError, ShapeError

LARGEST_SIDE = 8192  #: the largest height or width after preprocessing, in pixels
RESIZES = ("shortest", "longest", "squash")


def checked_images(images: Tensor, channels: int) -> Tensor:
    """Validate a batch of images, and expand grey images to ``channels``.

    Args:
        images: floating point ``(batch, channels, height, width)`` in [0, 1]; 1 channel is grey.
        channels: the number of channels that the encoder expects.

    Raises:
        ShapeError: if the images have another shape, or are integers.
        InputError: if values are outside [0, 1].

    >>> checked_images(torch.rand(2, 1, 28, 28), 3).shape
    torch.Size([2, 3, 28, 28])
    """
    if not isinstance(images, Tensor) or images.dim() != 4 or not images.is_floating_point() or not images.numel():
        is_tensor = isinstance(images, Tensor)
        found = f"{images.dtype} of shape {tuple(images.shape)}" if is_tensor else type(images).__name__
        raise ShapeError(
            f"images are {found}, expected float (batch, channels, height, width) in [0, 1]: "
            "stack them, and divide 8-bit values by 255"
        )
    if images.shape[1] not in (1, channels):
        expected = f"{channels}, or 1 for grey images" if channels > 1 else "1"
        raise ShapeError(
            f"images have {images.shape[1]} channels, expected {expected}: convert them, or choose another encoder"
        )
    low, high = (float(extreme) for extreme in images.detach().aminmax())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # NaN included
        raise InputError(
            f"images have values from {low:g} to {high:g}, expected 0 to 1: divide 8-bit values by 255, and do not "
            "normalize, which the encoder does"
        )
    return images.expand(-1, channels, -1, -1)


class ImageInput(nn.Module):
    """Resize, crop and normalize images as in the training of a pretrained network.

    ``(images - mean) / std`` per channel, after resizing with antialiasing. Cubic interpolation overshoots, so values
    are clamped to [0, 1], as for 8-bit images.

    Args:
        size: height and width of the network's input.
        mean, std: mean and standard deviation of the three channels.
        interpolation: ``"bicubic"``, ``"bilinear"``, ``"nearest"`` and so on.
        mode: ``"shortest"`` fits the shorter side and crops the center. ``"longest"`` fits the longer side and pads.
            ``"squash"`` fits both sides.
        scale: height and width to resize to, before the center crop to ``size``; None for ``size``.
        fill: value of the padding, one per channel.

    Raises:
        ConfigError: if a size or statistic is invalid, such as a standard deviation of 0.

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
                f"cannot resize images to {self.scale} with mode '{mode}' and crop them to {self.size}: expected sides "
                f"from 1 to {LARGEST_SIDE}, and mode {', '.join(RESIZES[:-1])} or {RESIZES[-1]}"
            )
        if len(tuple(mean)) != 3 or len(tuple(std)) != 3:
            raise ConfigError(f"images have mean {mean} and std {std}, expected 3 numbers each")
        if not all(0 < value < inf for value in std):
            raise ConfigError(f"std of images is {tuple(std)}, expected finite numbers above 0")
        if not all(abs(value) < inf for value in mean):
            raise ConfigError(f"mean of images is {tuple(mean)}, expected finite numbers")
        self.interpolation = InterpolationMode(interpolation)
        self.mode = mode
        self.fill = tuple(fill)
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(tuple(std)).view(3, 1, 1), persistent=False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Preprocess images in [0, 1] to ``(batch, 3, *size)``."""
        images = checked_images(images, 3)
        target = self._target(*images.shape[2:])
        if target != tuple(images.shape[2:]):
            images = resize(images, list(target), self.interpolation, antialias=True).clamp(0, 1)
        if self.mode == "longest":
            images = self._padded(images)
        return (center_crop(images, list(self.size)) - self.mean) / self.std

    def fingerprint(self) -> str:
        """Identify this computation in the keys of caches."""
        mean, std = ([round(value, 6) for value in each.flatten().tolist()] for each in (self.mean, self.std))
        fill = f" filled {self.fill}" if self.mode == "longest" else ""
        how = f"{self.mode} {self.interpolation.value} {self.scale} cut {self.size}{fill}"
        return f"images 1: {how}, mean {mean}, std {std}"

    def _target(self, height: int, width: int) -> tuple[int, int]:
        """Return the height and width to resize to."""
        rows, columns = self.scale
        if self.mode == "squash":
            return rows, columns
        if self.mode == "shortest" and rows == columns:  # rounds as torchvision does
            short, long = sorted((height, width))
            longer = int(rows * long / short)
            return (longer, rows) if height > width else (rows, longer)
        choose = max if self.mode == "longest" else min
        ratio = choose(height / rows, width / columns)
        return round(height / ratio), round(width / ratio)

    def _padded(self, images: Tensor) -> Tensor:
        """Pad images to ``size``, with the content in the center."""
        rows, columns = (max(0, size - side) for size, side in zip(self.size, images.shape[2:], strict=True))
        margins = [columns // 2, rows // 2, (columns + 1) // 2, (rows + 1) // 2]
        channels = [pad(images[:, [channel]], margins, fill=value) for channel, value in enumerate(self.fill)]
        return torch.cat(channels, dim=1)

"""An image encoder trained from scratch: convolutions on the pixels, one step for each position."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import resize

from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.image_input import LARGEST_SIDE, checked_images
from mmcl.errors import ConfigError, ShapeError


class ConvolutionImageEncoder(Encoder):
    """Encode images by convolutions; what can be cached are the pixels themselves.

    A block is a convolution over 3 x 3 positions, LayerNorm of each position (so that an image is encoded the same in
    any company) and ReLU; between blocks, height and width are halved and the channels doubled.

    Args:
        channels: of the images; with 3, grey images are repeated.
        size: height and width that images are resized to; None for those that they have.
        dim: channels of the last block, the size of a step.
        blocks: number of blocks.
        dropout: of whole channels, after the last block.
        pooling: over the positions, see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: sizes that cannot be.
        ShapeError: (when called) inputs that are no images, or of other channels.

    >>> encoder = ConvolutionImageEncoder(dim=32)
    >>> encoded = encoder(torch.rand(2, 1, 28, 28))
    >>> encoded.sequence.shape, encoded.pooled.shape
    (torch.Size([2, 16, 32]), torch.Size([2, 32]))
    """

    modality = "image"

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int | None = None,
        dim: int = 128,
        blocks: int = 4,
        dropout: float = 0.1,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        sizes = (("channels", channels, 1), ("size", size or 1, 1), ("dim", dim, 2), ("blocks", blocks, 1))
        for name, value, least in sizes:
            if value < least:
                raise ConfigError(f"{name} of the image encoder is {value}, expected at least {least}")
        if size is not None and size > LARGEST_SIDE:
            raise ConfigError(f"size of the image encoder is {size}, expected at most {LARGEST_SIDE}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout of the image encoder is {dropout}, expected 0 or more and less than 1")
        self.channels = channels
        self.size = size
        self.dim = dim
        self.pooling = pooling
        widths = [channels, *(max(min(8, dim), dim >> (blocks - 1 - number)) for number in range(blocks))]
        parts: list[nn.Module] = []
        for number, (before, after) in enumerate(zip(widths, widths[1:], strict=False)):
            if number:
                parts.append(nn.MaxPool2d(2, ceil_mode=True))
            parts += [nn.Conv2d(before, after, 3, padding=1), _PositionNorm(after), nn.ReLU()]
        self.network = nn.Sequential(*parts, nn.Dropout2d(dropout))

    @torch.no_grad()
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the pixels, a row of the image a step: ``(batch, height, width * channels)``, and ``height``."""
        images = checked_images(inputs, self.channels)
        if self.size is not None:
            images = resize(images, [self.size, self.size], antialias=True)
        rows = image_rows(images)
        return rows, torch.full((len(rows),), rows.shape[1], device=rows.device)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        maps = self.network(image_maps(features, lengths, self.channels))
        sequence = maps.flatten(2).transpose(1, 2)
        lengths = torch.full((len(sequence),), sequence.shape[1], device=sequence.device)
        return Encoded(sequence, lengths, pool(sequence, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Name the pixels and, where the encoder is frozen, its network and pooling."""
        name = f"pixels 1: {self.channels} channels" + ("" if self.size is None else f" of {self.size} x {self.size}")
        return f"{name}; {weights_hash(self.network)} {self.pooling}" if self.frozen else name


class _PositionNorm(nn.Module):
    """LayerNorm over the channels of ``(batch, channels, height, width)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def image_rows(maps: Tensor) -> Tensor:
    """Lay out ``(batch, channels, height, width)`` as a sequence of rows, ``(batch, height, width * channels)``.

    >>> image_rows(torch.arange(8.0).view(1, 2, 2, 2)).tolist()
    [[[0.0, 4.0, 1.0, 5.0], [2.0, 6.0, 3.0, 7.0]]]
    """
    return maps.permute(0, 2, 3, 1).flatten(2)


def image_maps(rows: Tensor, lengths: Tensor, channels: int) -> Tensor:
    """Undo :func:`image_rows`.

    Raises:
        ShapeError: rows of other channels, or images of different heights.

    >>> maps = torch.rand(2, 3, 4, 5)
    >>> torch.equal(image_maps(image_rows(maps), torch.tensor([4, 4]), 3), maps)
    True
    """
    if rows.dim() != 3 or rows.shape[2] % channels or bool((lengths != rows.shape[1]).any()):
        raise ShapeError(
            f"features of images are {tuple(rows.shape)} with lengths {lengths.unique().tolist()}, expected rows "
            f"(batch, height, width * {channels}) of one height: resize the images to one size"
        )
    return rows.unflatten(2, (-1, channels)).permute(0, 3, 1, 2)

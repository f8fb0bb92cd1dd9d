"""Convolutional image encoder trained from scratch, and the layout of images as sequences."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import resize

from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.image_input import LARGEST_SIDE, checked_images
from mmcl.errors import ConfigError, ShapeError


class ConvolutionImageEncoder(Encoder):
    """Encode images with convolutions, one step per position of the last map.

    A block is a 3 x 3 convolution, LayerNorm of each position, and ReLU. LayerNorm keeps images of a batch independent.
    Between blocks, max pooling halves height and width, and the channels double. The cached features are the pixels;
    if the encoder is frozen, the encodings can be cached as well.

    Args:
        channels: number of image channels; with 3, grey images are expanded.
        size: height and width to resize images to; None keeps their size.
        dim: channels of the last block, and size of each step.
        blocks: number of blocks.
        dropout: probability of dropping a channel after the last block.
        pooling: pooling over positions, see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: if a size or ``dropout`` is out of range.
        ShapeError: (when called) if the inputs are not images, or have another number of channels.

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
        for name, value, minimum in sizes:
            if value < minimum:
                raise ConfigError(f"{name} of the image encoder is {value}, expected at least {minimum}")
        if size is not None and size > LARGEST_SIDE:
            raise ConfigError(f"size of the image encoder is {size}, expected at most {LARGEST_SIDE}")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout of the image encoder is {dropout}, expected at least 0 and below 1")
        self.channels = channels
        self.size = size
        self.dim = dim
        self.pooling = pooling
        widths = [channels, *(max(min(8, dim), dim >> (blocks - 1 - block)) for block in range(blocks))]
        layers: list[nn.Module] = []
        for block, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
            if block:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), _PositionNorm(outputs), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Dropout2d(dropout))

    @torch.no_grad()
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the pixels with one image row per step, ``(batch, height, width * channels)``, and lengths."""
        images = checked_images(inputs, self.channels)
        if self.size is not None:
            images = resize(images, [self.size, self.size], antialias=True)
        rows = image_rows(images)
        return rows, full_lengths(rows)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        maps = self.network(image_maps(features, lengths, self.channels))
        sequence = maps.flatten(2).transpose(1, 2)
        lengths = full_lengths(sequence)
        return Encoded(sequence, lengths, pool(sequence, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Identify the pixels and, if the encoder is frozen, its network and pooling."""
        return self._fingerprint("" if self.size is None else f" of {self.size} x {self.size}")

    def former_fingerprint(self) -> str:
        """Return the fingerprint of former runs, in which ``size`` was not taken from the data."""
        return self._fingerprint("")

    def _fingerprint(self, size: str) -> str:
        name = f"pixels 1: {self.channels} channels{size}"
        return f"{name}; {weights_hash(self.network)} {self.pooling}" if self.frozen else name


class _PositionNorm(nn.Module):
    """LayerNorm over the channels of ``(batch, channels, height, width)``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.norm(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def full_lengths(sequence: Tensor) -> Tensor:
    """Return the lengths of an unpadded ``(batch, time, dim)``.

    >>> full_lengths(torch.zeros(2, 5, 3)).tolist()
    [5, 5]
    """
    return torch.full((len(sequence),), sequence.shape[1], device=sequence.device)


def image_rows(maps: Tensor) -> Tensor:
    """Convert ``(batch, channels, height, width)`` to a sequence of rows, ``(batch, height, width * channels)``.

    >>> image_rows(torch.arange(8.0).view(1, 2, 2, 2)).tolist()
    [[[0.0, 4.0, 1.0, 5.0], [2.0, 6.0, 3.0, 7.0]]]
    """
    return maps.permute(0, 2, 3, 1).flatten(2)


def image_maps(rows: Tensor, lengths: Tensor, channels: int) -> Tensor:
    """Convert rows back to ``(batch, channels, height, width)``; the inverse of :func:`image_rows`.

    Raises:
        ShapeError: if the rows have other channels, or the images have different heights.

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

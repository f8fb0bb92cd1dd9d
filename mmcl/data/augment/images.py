"""ImageAugmentation: random crops, rotations, flips, brightness and noise, drawn for each image of a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from mmcl.batch import Batch
from mmcl.config.numbers import Count, Factor, NonNegative, Probability, Share
from mmcl.data.augment.crop import check_crop
from mmcl.errors import ConfigError, InputError


class ImageAugmentation:
    """Return a random view of the images of a batch.

    Each image is cropped, rotated and flipped in one interpolation, and then changed in brightness and noise. Pixels
    outside of the image are 0. A batch is transformed at once. Transforms of ``torchvision.transforms.v2`` draw once
    for a whole batch; for others than these, pass any function from a batch to a batch in place of this class.

    Args:
        smallest: smallest share of the area that a crop shows; 1 crops nothing.
        largest: largest share.
        rotation: largest angle, in degrees.
        flip: probability of a horizontal flip.
        brightness: largest change of the brightness, as a share of it.
        noise: standard deviation of the Gaussian noise, where pixels are in [0, 1].
        dropped: probability of setting a square patch of the view to 0, as Contriever deletes tokens.
        patch: side of these patches, in pixels.

    Raises:
        ConfigError: a setting is out of range.
        InputError: (when called) the batch has no images.

    >>> _ = torch.manual_seed(0)
    >>> view = ImageAugmentation(smallest=0.5)(Batch(image=torch.rand(2, 1, 28, 28), label=torch.tensor([3, 4])))
    >>> view["image"].shape, view["label"].tolist()
    (torch.Size([2, 1, 28, 28]), [3, 4])
    """

    def __init__(
        self,
        smallest: Factor = 0.5,
        largest: Factor = 1.0,
        rotation: NonNegative = 15.0,
        flip: Probability = 0.0,
        brightness: Share = 0.0,
        noise: NonNegative = 0.0,
        dropped: Probability = 0.0,
        patch: Count = 4,
    ) -> None:
        check_crop(smallest, largest)
        if not 0 <= dropped < 1 or patch < 1:
            raise ConfigError(f"dropped is {dropped} and patch {patch}, expected a probability below 1 and 1 or more")
        if not 0 <= flip < 1 or not 0 <= brightness <= 1 or rotation < 0 or noise < 0:
            raise ConfigError(
                f"flip is {flip}, brightness {brightness}, rotation {rotation}, noise {noise}: expected a probability "
                "below 1, a share of 0 to 1, and no negative value"
            )
        self.smallest, self.largest = smallest, largest
        self.rotation, self.flip, self.brightness, self.noise = rotation, flip, brightness, noise
        self.dropped, self.patch = dropped, patch

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with other images; its other entries stay."""
        if "image" not in batch:
            raise InputError(f"the batch has {', '.join(batch) or 'no entries'}, expected images to augment")
        images = batch["image"]
        images = grid_sample(images, self._grid(images), align_corners=False)
        if self.brightness:
            factors = 1 + self.brightness * (2 * torch.rand(len(images), 1, 1, 1, device=images.device) - 1)
            images = images * factors
        if self.noise:
            images = images + self.noise * torch.randn_like(images)
        if self.dropped:
            images = images * self._kept(images)
        return Batch({**batch, "image": images.clamp(0, 1)})

    def _kept(self, images: Tensor) -> Tensor:
        """Return whether the patch of each pixel is kept, ``(batch, 1, height, width)``."""
        count, _, height, width = images.shape
        patches = torch.rand(count, 1, -(-height // self.patch), -(-width // self.patch), device=images.device)
        kept = patches >= self.dropped
        return kept.repeat_interleave(self.patch, 2).repeat_interleave(self.patch, 3)[:, :, :height, :width]

    def _grid(self, images: Tensor) -> Tensor:
        """Return the place in the image that each pixel of its view shows, ``(batch, height, width, 2)``."""
        count, _, height, width = images.shape

        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(count, device=images.device)

        side = draw(self.smallest, self.largest).sqrt()
        angle = draw(-self.rotation, self.rotation) * (math.pi / 180)
        mirror = 1 - 2 * (torch.rand(count, device=images.device) < self.flip).to(images.dtype)
        shift_x, shift_y = (draw(-1.0, 1.0) * (1 - side) for _ in range(2))
        aspect = width / height
        rows = [
            torch.stack([side * angle.cos() * mirror, -side * angle.sin() / aspect, shift_x], dim=1),
            torch.stack([side * angle.sin() * mirror * aspect, side * angle.cos(), shift_y], dim=1),
        ]
        return affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)

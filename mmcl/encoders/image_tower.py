"""ImageTower: the image network of another library, split where its training begins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.image import image_maps, image_rows
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.tuning import freeze_below
from mmcl.errors import ConfigError
from mmcl.freeze import freeze


class Tower(nn.Module, ABC):
    """A network in three parts: the front, layers one after the other, and the end.

    Hidden states are tokens ``(batch, tokens, width)`` or maps ``(batch, channels, height, width)``.

    Attributes:
        dim: size of a step of the sequence.
        own_dim: size of the network's own vector of an image.
        front_parts: the modules and bare parameters that are before the layers.
        layers: what can be trained from one on; empty where the network has no layers to speak of.
    """

    dim: int
    own_dim: int
    front_parts: Sequence[nn.Module | nn.Parameter]
    layers: Sequence[nn.Module]

    @abstractmethod
    def front(self, images: Tensor) -> Tensor:
        """Return the hidden states that enter the first layer."""

    @abstractmethod
    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sequence ``(batch, steps, dim)`` and the network's own vector ``(batch, own_dim)``."""

    def between(self, hidden: Tensor, first: int, last: int) -> Tensor:
        """Return what layers ``first`` to ``last - 1`` make of hidden states."""
        for layer in self.layers[first:last]:
            hidden = layer(hidden)
        return hidden


class ImageTower(Encoder):
    """Encode images ``(batch, channels, height, width)`` in [0, 1] with a network of another library.

    Resizing and normalization are the network's own, and so is ``pooling="own"``: the vector that it is known for.
    Frozen, what can be cached are the hidden states that leave the last layer; tuned, those that enter layer
    ``tune_from``; trained as a whole, the normalized pixels. Maps and pixels are laid out row by row.

    Args:
        tower: the network.
        images: how it wants its images.
        name: how it was asked for.
        frozen: train nothing.
        tune_from: train the layers from this one on, and the end; None, where not frozen, trains all.
        pooling: ``"own"``, or over the sequence, see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: there is no layer ``tune_from``.
    """

    modality = "image"

    def __init__(
        self,
        tower: Tower,
        images: ImageInput,
        *,
        name: str,
        frozen: bool,
        tune_from: int | None = None,
        pooling: str = "own",
    ) -> None:
        super().__init__()
        self.tower = tower
        self.images = images
        self.name = name
        self.pooling = pooling
        self.dim, self.own_dim = tower.dim, tower.own_dim
        self.frozen = frozen
        self.start = len(tower.layers) if frozen else tune_from  # the first layer that is trained; None trains all
        self.channels: int | None = 3  # of the maps that are kept; None where tokens are
        if self.start is not None:
            self.channels = self._kept_channels()
        if frozen:
            freeze(self)
        elif tune_from is not None:
            if not tower.layers:
                raise ConfigError(
                    f"tune_from is {tune_from}, but the layers of '{name}' are not known: expected frozen=True, or "
                    "frozen=False to train all of it"
                )
            freeze_below(name, tune_from, self._front_modules(), nn.ModuleList(tower.layers))
            for part in tower.front_parts:
                part.requires_grad_(False)

    @torch.no_grad()
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what training never changes, tokens ``(batch, tokens, width)`` or rows of maps
        ``(batch, height, width * channels)``, and how many steps that is."""
        hidden = self.images(inputs)
        if self.start is not None:
            hidden = self.tower.between(self.tower.front(hidden), 0, self.start)
        features = hidden if self.channels is None else image_rows(hidden)
        return features, torch.full((len(features),), features.shape[1], device=features.device)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        hidden = features if self.channels is None else image_maps(features, lengths, self.channels)
        if self.start is None:
            hidden = self.tower.front(hidden)
        sequence, own = self.tower.end(self.tower.between(hidden, self.start or 0, len(self.tower.layers)))
        lengths = torch.full((len(sequence),), sequence.shape[1], device=sequence.device)
        return Encoded(sequence, lengths, own if self.pooling == "own" else pool(sequence, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Name the preprocessing, the frozen weights and, where all is frozen, the pooling."""
        name = f"{self.name} 1: {self.images.fingerprint()}"
        if self.frozen:
            return f"{name}; {weights_hash(self.tower)} {self.pooling}"
        if self.start is None:
            return f"pixels of {name}"
        bare = nn.ParameterList(part for part in self.tower.front_parts if isinstance(part, nn.Parameter))
        return f"{name}; {weights_hash(bare, *self._front_modules(), *self.tower.layers[: self.start])} to {self.start}"

    def _front_modules(self) -> list[nn.Module]:
        return [part for part in self.tower.front_parts if isinstance(part, nn.Module)]

    @torch.no_grad()
    def _kept_channels(self) -> int | None:
        """The channels of the maps that enter layer ``start``, None if tokens do, from a blank image."""
        training = self.tower.training
        self.tower.eval()
        blank = self.images(torch.zeros(1, 3, *self.images.size))
        hidden = self.tower.between(self.tower.front(blank), 0, self.start or 0)
        self.tower.train(training)
        return int(hidden.shape[1]) if hidden.dim() == 4 else None

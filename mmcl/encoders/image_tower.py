"""Image encoders with a network of another library, split into frozen and trained layers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.image import full_lengths, image_maps, image_rows
from mmcl.encoders.image_input import ImageInput
from mmcl.encoders.tuning import freeze_below
from mmcl.errors import ConfigError
from mmcl.freeze import freeze


class LayeredTower(nn.Module, ABC):
    """Image network in three stages: a front, a sequence of layers, and an end.

    Hidden states are tokens ``(batch, tokens, width)`` or maps ``(batch, channels, height, width)``.

    Attributes:
        dim: size of each step of the sequence.
        own_dim: size of the network's own pooled vector.
        front_parts: modules and bare parameters of the front.
        prefix_width: size of vectors that may be put in front of the tokens; None if they may not.
        layers: layers that ``tune_from`` can select; empty if the layers of the network are unknown.
    """

    dim: int
    own_dim: int
    front_parts: Sequence[nn.Module | nn.Parameter]
    layers: Sequence[nn.Module]
    prefix_width: int | None = None

    @abstractmethod
    def front(self, images: Tensor) -> Tensor:
        """Return the hidden states that enter the first layer."""

    @abstractmethod
    def end(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sequence ``(batch, steps, dim)`` and the network's own vector ``(batch, own_dim)``."""

    def between(self, hidden: Tensor, first: int, last: int) -> Tensor:
        """Apply layers ``first`` to ``last - 1`` to hidden states."""
        for layer in self.layers[first:last]:
            hidden = layer(hidden)
        return hidden


class ImageTower(Encoder):
    """Encode images ``(batch, channels, height, width)`` in [0, 1] with a network of another library.

    Images are resized and normalized as the network expects. ``pooling="own"`` is the network's own pooled vector.
    The cached features depend on what is trained: the output of the last layer if frozen, the input of layer
    ``tune_from`` if given, else the normalized pixels. Maps and pixels are stored with one row per step.

    Args:
        tower: the network.
        images: its preprocessing.
        name: name of the network, for errors and fingerprints.
        frozen: train nothing.
        tune_from: train the layers from this one on, and the end. None trains all, unless frozen.
        pooling: ``"own"``, or pooling over the sequence, see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: if there is no layer ``tune_from``.
    """

    modality = "image"

    def __init__(
        self,
        tower: LayeredTower,
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
        self.dim, self.own_dim, self.prefix_width = tower.dim, tower.own_dim, tower.prefix_width
        self.frozen = frozen
        self.start = len(tower.layers) if frozen else tune_from  # the first trained layer; None trains all
        self.channels: int | None = 3  # channels of the cached maps; None for tokens
        if self.start is not None:
            self.channels = self._cached_channels()
        if frozen:
            freeze(self)
        elif tune_from is not None:
            if not tower.layers:
                raise ConfigError(
                    f"tune_from is {tune_from}, but the layers of '{name}' are unknown: expected frozen=True, or "
                    "frozen=False to train the whole network"
                )
            freeze_below(name, tune_from, self._front_modules(), nn.ModuleList(tower.layers))
            for part in tower.front_parts:
                part.requires_grad_(False)

    @torch.no_grad()
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return tokens ``(batch, tokens, width)`` or rows ``(batch, height, width * channels)``, and lengths."""
        hidden = self.images(inputs)
        if self.start is not None:
            hidden = self.tower.between(self.tower.front(hidden), 0, self.start)
        features = hidden if self.channels is None else image_rows(hidden)
        return features, full_lengths(features)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        hidden = features if self.channels is None else image_maps(features, lengths, self.channels)
        if self.start is None:
            hidden = self.tower.front(hidden)
        return self._pooled(*self.tower.end(self._tuned(hidden)))

    def prefixed(self, prefix: Tensor, features: Tensor, lengths: Tensor) -> tuple[Tensor, Encoded]:
        hidden = self._tuned(torch.cat([prefix.to(features.dtype), features], 1))
        vectors = prefix.shape[1]
        return self.tower.end(hidden[:, :vectors])[0], self._pooled(*self.tower.end(hidden[:, vectors:]))

    def tuned_layers(self) -> Sequence[nn.Module]:
        return self.tower.layers[self.start or 0 :]

    def fingerprint(self) -> str:
        """Identify the preprocessing, the frozen weights and, if all is frozen, the pooling."""
        name = f"{self.name} 1: {self.images.fingerprint()}"
        if self.frozen:
            return f"{name}; {weights_hash(self.tower)} {self.pooling}"
        if self.start is None:
            return f"pixels of {name}"
        bare = nn.ParameterList(part for part in self.tower.front_parts if isinstance(part, nn.Parameter))
        return f"{name}; {weights_hash(bare, *self._front_modules(), *self.tower.layers[: self.start])} to {self.start}"

    def _tuned(self, hidden: Tensor) -> Tensor:
        return self.tower.between(hidden, self.start or 0, len(self.tower.layers))

    def _pooled(self, sequence: Tensor, own: Tensor) -> Encoded:
        lengths = full_lengths(sequence)
        return Encoded(sequence, lengths, own if self.pooling == "own" else pool(sequence, lengths, self.pooling))

    def _front_modules(self) -> list[nn.Module]:
        return [part for part in self.tower.front_parts if isinstance(part, nn.Module)]

    @torch.no_grad()
    def _cached_channels(self) -> int | None:
        """Return the channels of the input of layer ``start``, or None for tokens, by encoding a blank image."""
        training = self.tower.training
        self.tower.eval()
        blank = self.images(torch.zeros(1, 3, *self.images.size))
        hidden = self.tower.between(self.tower.front(blank), 0, self.start or 0)
        self.tower.train(training)
        return int(hidden.shape[1]) if hidden.dim() == 4 else None

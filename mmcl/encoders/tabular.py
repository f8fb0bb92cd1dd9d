"""A network on a vector of numbers, such as the measurements of one kind that were taken of a sample."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from mmcl.encoders.base import Encoded, Encoder, weights_hash
from mmcl.encoders.standardize import feature_scaling
from mmcl.errors import ConfigError, InputError, ShapeError


class TabularEncoder(Encoder):
    """Encode vectors of numbers by a perceptron: the sequence has one step.

    Linear, ReLU, Linear, without anything after the last, as M3CoL encodes omics (Kumar et al., arXiv 2409.17777);
    weights begin as Xavier's normal ones, biases as 0.

    Args:
        features: numbers in a vector.
        hidden: width of the hidden layer; None for ``dim``.
        dim: size of the encoding.
        dropout: after the hidden layer.
        pooling: of a single step, which any pooling leaves as it is but ``mean_max``, which repeats it.

    Raises:
        ConfigError: sizes that cannot be.
        ShapeError, InputError: (when called) vectors of other sizes, or with numbers that are not finite.

    >>> encoder = TabularEncoder(features=200, dim=32)
    >>> encoder(torch.rand(4, 200)).pooled.shape
    torch.Size([4, 32])
    """

    modality = "tabular"
    gain: Tensor
    offset: Tensor

    def __init__(
        self,
        *,
        features: int,
        hidden: int | None = None,
        dim: int = 128,
        dropout: float = 0.0,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        hidden = dim if hidden is None else hidden
        for name, size in (("features", features), ("hidden", hidden), ("dim", dim)):
            if size < 1:
                raise ConfigError(f"{name} of the tabular encoder is {size}, expected at least 1")
        if not 0 <= dropout < 1:
            raise ConfigError(f"dropout of the tabular encoder is {dropout}, expected at least 0 and below 1")
        self.features, self.dim, self.pooling = features, dim, pooling
        self.register_buffer("gain", torch.ones(features))
        self.register_buffer("offset", torch.zeros(features))
        self.network = nn.Sequential(
            nn.Linear(features, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )
        xavier(self.network)

    def scale(self, vectors: Tensor, to: Literal["range", "deviation"] = "range") -> None:
        """Scale each feature from now on, as it is in ``vectors`` ``(samples, features)``: to 0 to 1 (``"range"``), or
        to mean 0 and deviation 1. Features that never vary become 0.

        Raises:
            ConfigError: another scale.
            ShapeError, InputError: vectors of another size, none, or not finite.
        """
        if to not in ("range", "deviation"):
            raise ConfigError(f"features are to be scaled to {to!r}, expected 'range' or 'deviation'")
        gain, offset, varies = feature_scaling(vectors, to, self.features)
        self.gain, self.offset = ((part * varies).to(self.gain) for part in (gain, offset))

    @torch.no_grad()
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the vectors themselves, a step each: ``(batch, 1, features)``."""
        if inputs.dim() != 2 or inputs.shape[1] != self.features or not inputs.is_floating_point():
            raise ShapeError(
                f"vectors are {inputs.dtype} of shape {tuple(inputs.shape)}, expected float (batch, {self.features}): "
                "set features to the numbers that the data has"
            )
        if not bool(inputs.isfinite().all()):
            row = int((~inputs.isfinite().all(1)).nonzero()[0])
            raise InputError(f"vector {row} of the batch has numbers that are not finite: fill in what is missing")
        return inputs[:, None], torch.ones(len(inputs), dtype=torch.long, device=inputs.device)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        sequence = self.network(torch.addcmul(self.offset, features, self.gain))
        step = sequence[:, 0]
        return Encoded(sequence, lengths, torch.cat([step, step], 1) if self.pooling == "mean_max" else step)

    def fingerprint(self) -> str:
        """Name the numbers and, where the encoder is frozen, its network."""
        name = f"numbers 1: {self.features}"
        return f"{name}; {weights_hash(self.network)} {self.pooling}" if self.frozen else name


def xavier(network: nn.Module) -> None:
    """Begin with Xavier's normal weights and biases of 0 in every linear layer of ``network``."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)

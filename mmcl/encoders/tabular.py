"""Encoder of tabular features, such as the omics measurements of a patient."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mmcl.encoders.base import Encoded, Encoder, weights_hash
from mmcl.encoders.standardize import feature_scaling
from mmcl.errors import ConfigError, InputError, ShapeError


class TabularEncoder(Encoder):
    """Encode feature vectors with a perceptron, as a sequence of one step.

    The network is Linear, ReLU, Dropout, Linear, as M3CoL encodes omics (Kumar et al., arXiv 2409.17777). Weights are
    initialized with Xavier's normal distribution, biases with 0.

    Args:
        features: number of features.
        hidden: size of the hidden layer; None for ``dim``.
        dim: size of the encoding.
        dropout: dropout probability after the hidden layer.
        pooling: pooling of the single step. Only ``"mean_max"`` changes it: it repeats the step.

    Raises:
        ConfigError: if a size or ``dropout`` is out of range.
        ShapeError: (when called) if vectors have another number of features.
        InputError: (when called) if values are not finite.

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
        """Fit the scaling of each feature to ``vectors``; constant features become 0.

        Args:
            vectors: ``(samples, features)``.
            to: ``"range"`` scales to [0, 1], ``"deviation"`` to mean 0 and standard deviation 1.

        Raises:
            ConfigError: if ``to`` is unknown.
            ShapeError, InputError: if ``vectors`` are empty, have another size or are not finite.
        """
        if to not in ("range", "deviation"):
            raise ConfigError(f"cannot scale features to {to!r}, expected 'range' or 'deviation'")
        gain, offset, varies = feature_scaling(vectors, to, self.features)
        self.gain, self.offset = ((each * varies).to(self.gain) for each in (gain, offset))

    @torch.no_grad()
    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the vectors themselves as one step each, ``(batch, 1, features)``."""
        if inputs.dim() != 2 or inputs.shape[1] != self.features or not inputs.is_floating_point():
            raise ShapeError(
                f"vectors are {inputs.dtype} of shape {tuple(inputs.shape)}, expected float (batch, {self.features}): "
                "set features to the number of features in the data"
            )
        # In training on a GPU, the loss is checked instead, which does not wait.
        if (inputs.is_cpu or not self.training) and not bool(inputs.isfinite().all()):
            row = int((~inputs.isfinite().all(1)).nonzero()[0])
            raise InputError(f"vector {row} of the batch has values that are not finite: fill in missing values")
        return inputs[:, None], torch.ones(len(inputs), dtype=torch.long, device=inputs.device)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        sequence = self.network(torch.addcmul(self.offset, features, self.gain))
        step = sequence[:, 0]
        return Encoded(sequence, lengths, torch.cat([step, step], 1) if self.pooling == "mean_max" else step)

    def fingerprint(self) -> str:
        """Identify the features and, if the encoder is frozen, its scaling, network and pooling."""
        name = f"numbers 1: {self.features}"
        return f"{name}; {weights_hash(self)} {self.pooling}" if self.frozen else name


def xavier(network: nn.Module) -> None:
    """Initialize the linear layers of ``network``: Xavier's normal distribution for weights, 0 for biases."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)

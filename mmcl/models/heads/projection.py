"""Projection heads: map encoder output to one vector in a space shared by modalities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmcl.config.numbers import Count, Positive, Probability, Size
from mmcl.encoders.base import Encoded, Encoder
from mmcl.encoders.standardize import standardization
from mmcl.errors import ConfigError
from mmcl.models.heads.attention_pooling import AttentionPooling

HEADS = ("none", "linear", "mlp", "attention", "reweighting", "residual")


@dataclass(frozen=True)
class HeadOptions:
    """Configuration of a projection head.

    Args:
        name: one of :data:`HEADS`. ``none`` returns the pooled vector and ``linear`` projects it. ``mlp`` projects it
            through one hidden layer. ``attention`` reads the encoder's steps, see
            :class:`~mmcl.models.heads.attention_pooling.AttentionPooling`. ``reweighting`` has fixed weights, see
            :class:`Reweighting`. ``residual`` starts as the identity, see :class:`Residual`.
        hidden: width of ``mlp`` and ``attention``.
        kernel: steps of the convolution of ``attention``, odd.
        layers: transformer layers of ``attention``.
        heads: attention heads of ``attention``; they divide ``hidden``.
        dropout: dropout rate of ``mlp`` and ``attention``.
        kappa: ratio of neighbouring weights of ``reweighting``, greater than 0.
        batch_norm: normalize the hidden layer of ``mlp`` over the batch, as in SimCLR.

    Raises:
        ConfigError: unknown name, or incompatible sizes.
    """

    name: str = "linear"
    hidden: Count = 512
    kernel: Count = 3
    layers: Size = 0
    heads: Count = 4
    dropout: Probability = 0.0
    kappa: Positive = 1.05
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if self.name not in HEADS:
            raise ConfigError(f"head is '{self.name}', expected one of {', '.join(HEADS)}")
        if min(self.hidden, self.heads) < 1 or self.layers < 0 or self.hidden % self.heads:
            raise ConfigError(
                f"head with hidden={self.hidden}, heads={self.heads}, layers={self.layers}: expected at least 1 head, "
                "hidden divisible by heads, and layers of 0 or more"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"head with kernel={self.kernel}: expected an odd number of steps, such as 1, 3 or 5")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"head with dropout={self.dropout}: expected 0 or more and less than 1")
        if not 0 < self.kappa < math.inf:
            raise ConfigError(f"head with kappa={self.kappa}: expected a number greater than 0, such as 1.05")

    @property
    def reads_steps(self) -> bool:
        """Whether the head reads the encoder's steps instead of the pooled vector."""
        return self.name == "attention"

    @property
    def keeps_dim(self) -> bool:
        """Whether the output has the dimension of the encoder's vector."""
        return self.name in ("none", "reweighting", "residual")

    def build(self, encoder: Encoder, dim: int) -> Head:
        """Build the head of an encoder, with ``dim`` output dimensions.

        Raises:
            ConfigError: the head keeps the dimension of the encoder's vector, and ``dim`` is another.
        """
        if self.keeps_dim:
            if encoder.pooled_dim != dim:
                raise ConfigError(
                    f"{encoder.modality} encoder has {encoder.pooled_dim} output dimensions and the shared space has "
                    f"{dim}: choose the head linear, mlp or attention instead of {self.name}"
                )
            if self.name == "residual":
                return Head(self, dim, Residual(dim))
            return Head(self, dim, nn.Identity() if self.name == "none" else Reweighting(dim, self.kappa))
        if self.name == "linear":
            return Head(self, encoder.pooled_dim, nn.Linear(encoder.pooled_dim, dim))
        if self.name == "mlp":
            norm = [nn.BatchNorm1d(self.hidden)] if self.batch_norm else []
            layers = nn.Linear(encoder.pooled_dim, self.hidden), *norm, nn.GELU(), nn.Dropout(self.dropout)
            return Head(self, encoder.pooled_dim, nn.Sequential(*layers, nn.Linear(self.hidden, dim)))
        pooling = AttentionPooling(
            encoder.dim,
            dim,
            hidden=self.hidden,
            kernel=self.kernel,
            layers=self.layers,
            heads=self.heads,
            dropout=self.dropout,
        )
        return Head(self, encoder.dim, pooling)


class Reweighting(nn.Module):
    """Fixed projection head, which weights dimensions less and less; it has no parameters.

    ::

        h(x)_i = x_i / kappa^i          i = 0 ... dim - 1

    Train with this head and use x afterwards: the dimensions of x that h weights least keep features that the loss
    would suppress. Xue et al. 2024 (arXiv 2403.11391), as in a co-author's code. Weights below the smallest number are
    0, and their dimensions get no gradient: with kappa 1.5 in float32, those from 257 on.

    Args:
        dim: number of dimensions.
        kappa: ratio of neighbouring weights; 1.05 for learning without labels, 1.2 and 1.5 with labels.

    >>> Reweighting(3, kappa=2.0)(torch.ones(1, 3))
    tensor([[1.0000, 0.5000, 0.2500]])
    """

    weights: Tensor

    def __init__(self, dim: int, kappa: float) -> None:
        super().__init__()
        weights = torch.tensor(kappa, dtype=torch.float64) ** -torch.arange(dim)
        self.register_buffer("weights", weights.float(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the weighted vectors ``(batch, dim)``."""
        return vectors * self.weights


class Residual(nn.Module):
    """Projection head ``h(x) = x + W x``, with W = 0 at the start: it adapts the embeddings of a pretrained encoder.

    Args:
        dim: number of dimensions.

    >>> Residual(3)(torch.ones(1, 3))
    tensor([[1., 1., 1.]], grad_fn=<AddBackward0>)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.change = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.change.weight)

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the changed vectors ``(batch, dim)``."""
        return vectors + self.change(vectors)


class Head(nn.Module):
    """Projection head with optional standardization of its input.

    Args:
        options: configuration that the head was built with.
        dim: dimension of the input.
        network: projection. It takes vectors ``(batch, dim)``, or steps and their lengths.

    >>> from mmcl.encoders import build_encoder
    >>> encoder = build_encoder("audio", "cnn")
    >>> head = HeadOptions("attention", hidden=32).build(encoder, dim=16)
    >>> head(encoder(torch.zeros(2, 16000), torch.tensor([16000, 8000]))).shape
    torch.Size([2, 16])
    """

    gain: Tensor
    offset: Tensor

    def __init__(self, options: HeadOptions, dim: int, network: nn.Module) -> None:
        super().__init__()
        self.options = options
        self.register_buffer("gain", torch.ones(dim))
        self.register_buffer("offset", torch.zeros(dim))
        self.network = network

    def standardize(self, vectors: Tensor) -> None:
        """Set the input scaling to mean 0 and standard deviation 1 on the given vectors.

        Heads that keep the dimension, such as ``none``, are not scaled. Constant features keep their scale, see
        :func:`~mmcl.encoders.standardize.standardization`.

        Args:
            vectors: pooled vectors, or steps if the head reads steps, ``(vectors, dim)``.

        Raises:
            ShapeError, InputError: the vectors have another size, are empty, or are not finite.
        """
        if self.options.keeps_dim:
            return
        scaling = standardization(vectors, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    def forward(self, encoded: Encoded) -> Tensor:
        """Return embeddings ``(batch, dim)``, not normalized."""
        vectors = encoded.sequence if self.options.reads_steps else encoded.pooled
        scaled = torch.addcmul(self.offset, vectors, self.gain)
        return self.network(scaled, encoded.lengths) if self.options.reads_steps else self.network(scaled)

"""Projection heads: from what an encoder gives to one vector in a space that modalities share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from mmcl.batch import length_mask
from mmcl.encoders.base import Encoded, Encoder
from mmcl.encoders.standardize import standardization
from mmcl.errors import ConfigError

HEADS = ("none", "linear", "mlp", "attention")


@dataclass(frozen=True)
class HeadOptions:
    """What heads are made of: ``name`` is one of :data:`HEADS`.

    ``none`` passes the pooled vector on, ``linear`` and ``mlp`` project it (the latter through one hidden layer), and
    ``attention`` reads the steps themselves: a projection of each step with its neighbours (a convolution of ``kernel``
    steps), ``layers`` transformer layers, then for each of ``heads`` learned queries a mean of the steps, weighted by
    attention. ``hidden`` is the width of the latter two, ``dropout`` is theirs.

    Raises:
        ConfigError: an unknown name, or sizes that do not go together.
    """

    name: str = "linear"
    hidden: int = 512
    kernel: int = 3
    layers: int = 0
    heads: int = 4
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in HEADS:
            raise ConfigError(f"head is '{self.name}', expected one of {', '.join(HEADS)}")
        if min(self.hidden, self.heads) < 1 or self.layers < 0 or self.hidden % self.heads:
            raise ConfigError(
                f"a head has hidden={self.hidden}, heads={self.heads}, layers={self.layers}: expected 1 or more heads "
                "that divide hidden, and 0 or more layers"
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ConfigError(f"kernel of a head is {self.kernel}, expected an odd number of steps: 1, 3, 5, ...")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout of a head is {self.dropout}, expected at least 0 and below 1")

    @property
    def reads_steps(self) -> bool:
        """Whether the head needs the encoder's steps, not only the pooled vector."""
        return self.name == "attention"

    def build(self, encoder: Encoder, dim: int) -> Head:
        """Make the head of an encoder, into a space of ``dim`` dimensions.

        Raises:
            ConfigError: ``none`` where the encoder's vector has another dimension.
        """
        if self.name == "none":
            if encoder.pooled_dim != dim:
                raise ConfigError(
                    f"the {encoder.modality} encoder gives {encoder.pooled_dim} dimensions and the shared space has "
                    f"{dim}: expected a head that projects (linear, mlp, attention) in place of none"
                )
            return Head(self, encoder.pooled_dim, nn.Identity())
        if self.name == "linear":
            return Head(self, encoder.pooled_dim, nn.Linear(encoder.pooled_dim, dim))
        if self.name == "mlp":
            layers = nn.Linear(encoder.pooled_dim, self.hidden), nn.GELU(), nn.Dropout(self.dropout)
            return Head(self, encoder.pooled_dim, nn.Sequential(*layers, nn.Linear(self.hidden, dim)))
        return Head(self, encoder.dim, _AttentionPooling(encoder.dim, dim, self))


class Head(nn.Module):
    """A projection head, before which what the encoder gives can be scaled to mean 0 and deviation 1.

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
        """Scale what comes in to mean 0 and deviation 1 from now on, as it is in ``vectors``, ``(vectors, dim)``: those
        of samples, or steps where the head reads them. Nothing is done where there is no projection.

        A feature that does not vary keeps its scale, see :func:`~mmcl.encoders.standardize.standardization`.

        Raises:
            ShapeError, InputError: vectors of another size, none, or not finite.
        """
        if self.options.name == "none":
            return
        scaling = standardization(vectors, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    def forward(self, encoded: Encoded) -> Tensor:
        """Return embeddings ``(batch, dim)``, not normalised."""
        vectors = encoded.sequence if self.options.reads_steps else encoded.pooled
        scaled = torch.addcmul(self.offset, vectors, self.gain)
        return self.network(scaled, encoded.lengths) if self.options.reads_steps else self.network(scaled)


class _AttentionPooling(nn.Module):
    """A convolution, transformer layers, as many weighted means of the steps as there are heads, and a projection."""

    def __init__(self, source: int, dim: int, options: HeadOptions) -> None:
        super().__init__()
        self.heads = options.heads
        self.input = nn.Conv1d(source, options.hidden, options.kernel, padding=options.kernel // 2)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                options.hidden,
                options.heads,
                2 * options.hidden,
                options.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(options.layers)
        )
        self.norm = nn.LayerNorm(options.hidden)
        self.score = nn.Sequential(
            nn.Linear(options.hidden, options.hidden // options.heads),
            nn.Tanh(),
            nn.Linear(options.hidden // options.heads, options.heads),
        )
        self.output = nn.Sequential(nn.Dropout(options.dropout), nn.Linear(options.heads * options.hidden, dim))

    def forward(self, steps: Tensor, lengths: Tensor) -> Tensor:
        padding = ~length_mask(lengths, steps.shape[1])
        steps = steps.masked_fill(padding[:, :, None], 0.0)  # the neighbours of the last step
        hidden = gelu(self.input(steps.transpose(1, 2)).transpose(1, 2))
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
        hidden = self.norm(hidden)
        weights = self.score(hidden).masked_fill(padding[:, :, None], float("-inf")).softmax(1)
        return self.output((weights.transpose(1, 2) @ hidden).flatten(1))

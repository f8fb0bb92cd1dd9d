"""Audio encoders trained from scratch: log-mel frames, SpecAugment, a network and pooling."""

from __future__ import annotations

from torch import Tensor
from torchaudio.transforms import SpecAugment

from mmcl.encoders.base import Encoded, Encoder, pool
from mmcl.encoders.log_mel import LogMel
from mmcl.encoders.networks import ConformerNetwork, ConvolutionNetwork
from mmcl.errors import ConfigError


class LogMelEncoder(Encoder):
    """Encode speech with a network on log-mel frames.

    The frames can be cached; if the encoder is frozen, so can the encodings.

    Args:
        network: maps frames ``(batch, time, mels)`` and lengths to a sequence ``(batch, steps, dim)`` and lengths.
        mels: number of mel bands.
        pooling: see :func:`~mmcl.encoders.base.pool`.
        spec_augment: mask two random time spans and two random frequency spans with their mean during training.
    """

    modality = "audio"

    def __init__(
        self,
        network: ConvolutionNetwork | ConformerNetwork,
        *,
        mels: int = 64,
        pooling: str = "mean",
        spec_augment: bool = True,
    ) -> None:
        super().__init__()
        self.network = network
        self.front_end = LogMel(mels)
        self.pooling = pooling
        self.dim = network.dim
        # Frames have mean 0, so zero is their mean. A span covers at most 1/5 of the frames or 1/8 of the bands.
        self.spec_augment = SpecAugment(2, 20, 2, mels // 8, iid_masks=True, p=0.2, zero_masking=True)
        self.augments = spec_augment

    def frozen_features(self, inputs: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return log-mel frames ``(batch, time, mels)`` and their lengths."""
        return self.front_end(inputs, lengths)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if self.training and self.augments:
            features = self.spec_augment(features.transpose(1, 2)).transpose(1, 2)
        sequence, lengths = self.network(features, lengths)
        return Encoded(sequence, lengths, pool(sequence, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Identify the front-end and, if the encoder is frozen, its network and pooling."""
        name = self.front_end.fingerprint()
        return f"{name}; {self.network.fingerprint()} {self.pooling}" if self.frozen else name


def cnn(
    *,
    dim: int = 128,
    blocks: int = 3,
    mels: int = 64,
    dropout: float = 0.1,
    spec_augment: bool = True,
    pooling: str = "mean",
) -> LogMelEncoder:
    """Build a small convolutional encoder that trains quickly on the CPU, with one step per 40 ms.

    >>> import torch
    >>> encoder = cnn(dim=32)
    >>> encoder(torch.randn(2, 16000)).sequence.shape
    torch.Size([2, 25, 32])
    """
    _check_sizes(dim=dim, blocks=blocks, mels=mels)
    network = ConvolutionNetwork(mels, dim, blocks, dropout)
    return LogMelEncoder(network, mels=mels, pooling=pooling, spec_augment=spec_augment)


def conformer(
    *,
    dim: int = 128,
    layers: int = 2,
    heads: int = 4,
    kernel: int = 15,
    mels: int = 64,
    dropout: float = 0.1,
    spec_augment: bool = True,
    pooling: str = "mean",
) -> LogMelEncoder:
    """Build an encoder with torchaudio's Conformer (Gulati et al., 2020), with one step per 40 ms.

    >>> import torch
    >>> encoder = conformer(dim=32, layers=1)
    >>> encoder(torch.randn(2, 16000)).sequence.shape
    torch.Size([2, 25, 32])
    """
    _check_sizes(dim=dim, layers=layers, heads=heads, kernel=kernel, mels=mels)
    if dim % heads or kernel % 2 == 0:
        raise ConfigError(
            f"a Conformer cannot have dim={dim}, heads={heads}, kernel={kernel}: "
            "expected heads that divide dim, and an odd kernel"
        )
    network = ConformerNetwork(mels, dim, layers, heads, kernel, dropout)
    return LogMelEncoder(network, mels=mels, pooling=pooling, spec_augment=spec_augment)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"{name} of the encoder is {size}, expected at least 1")

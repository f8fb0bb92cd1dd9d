"""What every encoder looks like: inputs of one modality in, :class:`Encoded` out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from hashlib import blake2b
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from mmcl.batch import Batch, length_mask
from mmcl.errors import ConfigError

POOLINGS = ("mean", "max", "mean_max")


class Encoded(NamedTuple):
    """What an encoder makes of a batch.

    ``sequence`` is ``(batch, time, dim)``, ``lengths`` is ``(batch,)`` in steps of ``sequence``, and ``pooled`` is
    ``(batch, pooled_dim)``: one vector per sample, padding left out.
    """

    sequence: Tensor
    lengths: Tensor
    pooled: Tensor


class Encoder(nn.Module, ABC):
    """Inputs of one modality -> features.

    An encoder is two steps, so that what never changes can be computed once and cached:
    ``frozen_features`` (log-mel frames, pixels, or the layers of a pretrained network that are not trained) and
    ``from_features`` (the layers that are). ``forward`` is one after the other.

    Attributes:
        modality: ``"audio"``, ``"text"``, ``"image"``.
        dim: size of a step of ``Encoded.sequence``.
        own_dim: size of the vector that the network itself makes of an input, None where it makes none.
        pooled_dim: size of ``Encoded.pooled``: ``dim``, twice that with ``pooling="mean_max"``, or ``own_dim`` with
            ``pooling="own"``.
        frozen: nothing in the encoder is trained; then ``Encoded.pooled`` itself can be cached.
        spec: what :func:`~mmcl.encoders.build_encoder` was called with, by which a saved model builds it again.
    """

    modality: str
    dim: int
    own_dim: int | None = None
    pooling: str = "mean"
    frozen: bool = False
    spec: dict[str, Any] | None = None

    @property
    def pooled_dim(self) -> int:
        if self.pooling == "own" and self.own_dim is not None:
            return self.own_dim
        return 2 * self.dim if self.pooling == "mean_max" else self.dim

    @abstractmethod
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what training never changes, ``(batch, time, features)``, and its lengths ``(batch,)``."""

    @abstractmethod
    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        """Return the encoding of what :meth:`frozen_features` gave."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Name :meth:`frozen_features` (and, where ``frozen``, the pooling): equal fingerprints give equal features."""

    def forward(self, inputs: Any, lengths: Tensor | None = None) -> Encoded:
        """Encode a batch: waveforms ``(batch, samples)`` with ``lengths`` in samples, a list of texts, or images
        ``(batch, channels, height, width)`` in [0, 1]."""
        return self.from_features(*self.frozen_features(inputs, lengths))

    def encode_batch(self, batch: Batch) -> Encoded:
        """Encode the cached ``features`` of a batch if it has them, else its inputs of this encoder's modality.

        With ``features_lengths``, the features are those of :meth:`frozen_features`. Without, they are pooled vectors
        ``(batch, pooled_dim)``.
        """
        if "features" not in batch:
            return self(batch[self.modality], batch.get(f"{self.modality}_lengths"))
        features = batch["features"]
        if "features_lengths" in batch:
            return self.from_features(features, batch["features_lengths"])
        return Encoded(features[:, None], features.new_ones(len(features), dtype=torch.long), features)

    def view_features(self, batch: Batch, view: str) -> tuple[Tensor, Tensor]:
        """Return the cached ``<view>_features`` of a batch and their lengths, or else :meth:`frozen_features` of the
        entry ``view``."""
        if f"{view}_features" in batch:
            return batch[f"{view}_features"], batch[f"{view}_features_lengths"]
        return self.frozen_features(batch[view], batch.get(f"{view}_lengths"))


def pool(sequence: Tensor, lengths: Tensor, pooling: str = "mean") -> Tensor:
    """One vector per sequence, over the steps before its length only.

    Args:
        sequence: ``(batch, time, dim)``.
        lengths: ``(batch,)``, each at least 1.
        pooling: ``"mean"``, ``"max"`` (both ``(batch, dim)``) or ``"mean_max"``, side by side ``(batch, 2 dim)``.

    >>> pool(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]), "mean_max").tolist()
    [[2.0, 3.0]]
    """
    if pooling not in POOLINGS:
        raise ConfigError(f"pooling is {pooling!r}, expected one of {', '.join(POOLINGS)}")
    mask = length_mask(lengths, sequence.shape[1])[:, :, None]
    parts = []
    if pooling != "max":
        parts.append((sequence * mask).sum(1) / lengths[:, None].clamp(min=1).to(sequence.dtype))
    if pooling != "mean":
        parts.append(sequence.masked_fill(~mask, float("-inf")).amax(1))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def subsample(sequence: Tensor, lengths: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Make one step of ``size`` steps, their mean; the last of a sequence is that of the steps it has.

    Args:
        sequence: ``(batch, time, dim)``.
        lengths: ``(batch,)``.
        size: 1 or more.

    >>> steps, lengths = subsample(torch.tensor([[[1.0], [3.0], [5.0], [9.0]]]), torch.tensor([3]), 2)
    >>> steps.tolist(), lengths.tolist()
    ([[[2.0], [5.0]]], [2])
    """
    if size == 1:
        return sequence, lengths
    there = length_mask(lengths, sequence.shape[1])[:, :, None].to(sequence.dtype)
    sums, counts = (
        avg_pool1d(part.transpose(1, 2), size, ceil_mode=True).transpose(1, 2) for part in (sequence * there, there)
    )
    return sums / counts.clamp(min=1 / size), (lengths - 1) // size + 1


def check_subsampling(size: int) -> None:
    """Raise ConfigError where so many steps cannot become one."""
    if not 1 <= size <= 1500:
        raise ConfigError(f"subsampling is {size}, expected 1 or more steps that become one, and at most 1500")


def fingerprint_end(frozen: bool, pooling: str, tune_from: int, subsampling: int) -> str:
    """Name where the frozen part of an audio encoder ends: in pooled and subsampled steps, or before a layer.

    >>> fingerprint_end(True, "mean", 6, 4), fingerprint_end(False, "mean", 4, 4)
    (' mean /4', ' to 4')
    """
    if not frozen:
        return f" to {tune_from}"
    return f" {pooling} /{subsampling}" if subsampling > 1 else f" {pooling}"


def weights_hash(*modules: nn.Module) -> str:
    """Name the weights and buffers of ``modules``: equal names mean equal values.

    >>> layer = nn.Linear(2, 2)
    >>> before = weights_hash(layer)
    >>> _ = layer.weight.data.add_(1)
    >>> len(before), weights_hash(layer) == before
    (32, False)
    """
    digest = blake2b(digest_size=16)
    for module in modules:
        for name, value in module.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

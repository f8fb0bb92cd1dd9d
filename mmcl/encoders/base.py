"""Base class of all encoders, their output type, and pooling over padded sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, get_type_hints

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

from mmcl.arguments import require_batch, require_tensors
from mmcl.batch import Batch, length_mask
from mmcl.errors import ConfigError

POOLINGS = ("mean", "max", "mean_max")


class Encoded(NamedTuple):
    """Output of an encoder for a batch.

    Attributes:
        sequence: ``(batch, time, dim)``.
        lengths: ``(batch,)``, in steps of ``sequence``.
        pooled: one vector per sample, without padding, ``(batch, pooled_dim)``.
    """

    sequence: Tensor
    lengths: Tensor
    pooled: Tensor


Encoded.__annotations__.update(get_type_hints(Encoded))  # documentation tools cannot resolve the names


class Encoder(nn.Module, ABC):
    """Encode inputs of one modality in two steps, the first of which can be cached.

    ``frozen_features`` computes what training never changes: log-mel frames, pixels, or the frozen layers of a
    pretrained network. ``from_features`` applies the trained layers. ``forward`` runs both.

    Attributes:
        modality: ``"audio"``, ``"image"``, ``"tabular"`` or ``"text"``.
        dim: size of each step of ``Encoded.sequence``.
        own_dim: size of the network's own pooled vector; None if it has none.
        pooled_dim: size of ``Encoded.pooled``: ``dim``, ``2 * dim`` with ``pooling="mean_max"``, or ``own_dim`` with
            ``pooling="own"``.
        frozen: True if nothing is trained. ``Encoded.pooled`` can then be cached.
        prefix_width: size of the vectors that :meth:`prefixed` puts in front; None if it cannot.
        spec: arguments of :func:`~mmcl.encoders.build_encoder`, with which a saved model rebuilds the encoder.
    """

    modality: str
    dim: int
    own_dim: int | None = None
    pooling: str = "mean"
    frozen: bool = False
    prefix_width: int | None = None
    spec: dict[str, Any] | None = None

    @property
    def pooled_dim(self) -> int:
        if self.pooling == "own" and self.own_dim is not None:
            return self.own_dim
        return 2 * self.dim if self.pooling == "mean_max" else self.dim

    @abstractmethod
    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the features that training never changes, ``(batch, time, features)``, and lengths ``(batch,)``."""

    @abstractmethod
    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        """Encode the output of :meth:`frozen_features`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Identify the computation of :meth:`frozen_features` and, if ``frozen``, of ``Encoded.pooled``.

        Encoders with equal fingerprints compute equal features. It is the key of the feature cache, so it must hold
        the weights and every option that changes the features.
        """

    def tuned_layers(self) -> Sequence[nn.Module]:
        """Return the layers of a pretrained transformer that are trained, which may have adapters; none by default."""
        return ()

    def prefixed(self, prefix: Tensor, features: Tensor, lengths: Tensor) -> tuple[Tensor, Encoded]:
        """Encode features with vectors in front of the input of the first tuned layer.

        Args:
            prefix: ``(batch, vectors, prefix_width)``.
            features, lengths: output of :meth:`frozen_features`.

        Returns:
            Outputs of the prefix, ``(batch, vectors, dim)``, and the encoding of the features.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no vectors in front of its features")

    def forward(self, inputs: Any, lengths: Tensor | None = None) -> Encoded:
        """Encode a batch.

        Args:
            inputs: waveforms ``(batch, samples)``, images ``(batch, channels, height, width)`` in [0, 1], vectors
                ``(batch, features)``, or a list of texts.
            lengths: lengths of waveforms in samples, ``(batch,)``; None if none is padded.

        Raises:
            InputError: the inputs are an array or a list where a tensor is expected, or not a list of texts.
        """
        self._check(inputs, "inputs")
        if lengths is not None:
            require_tensors(lengths=lengths)
        return self.from_features(*self.frozen_features(inputs, lengths))

    def _check(self, inputs: object, name: str) -> None:
        if self.modality != "text":  # text encoders check their texts
            require_tensors(**{name: inputs})

    def encode_batch(self, batch: Batch) -> Encoded:
        """Encode the cached ``features`` of a batch if it has them, else its inputs of this encoder's modality.

        With ``features_lengths``, the features are those of :meth:`frozen_features`. Without, they are pooled vectors
        ``(batch, pooled_dim)``.
        """
        require_batch(batch)
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
        self._check(batch[view], f"batch[{view!r}]")
        return self.frozen_features(batch[view], batch.get(f"{view}_lengths"))


def pool(sequence: Tensor, lengths: Tensor, pooling: str = "mean") -> Tensor:
    """Pool each sequence into one vector, without padding.

    Args:
        sequence: ``(batch, time, dim)``.
        lengths: ``(batch,)``, each at least 1.
        pooling: ``"mean"`` or ``"max"``, both ``(batch, dim)``, or their concatenation ``"mean_max"``,
            ``(batch, 2 * dim)``.

    Raises:
        ConfigError: if ``pooling`` is unknown.

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
    """Average every ``size`` steps into one; the last group of a sequence may be smaller.

    Args:
        sequence: ``(batch, time, dim)``.
        lengths: ``(batch,)``.
        size: steps to average, 1 or more.

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
    """Raise ConfigError unless ``size`` is a valid number of steps to average."""
    if not 1 <= size <= 1500:
        raise ConfigError(f"subsampling is {size}, expected 1 to 1500 steps")


def fingerprint_end(frozen: bool, pooling: str, tune_from: int, subsampling: int) -> str:
    """Return the end of an audio encoder's fingerprint: pooling and subsampling, or the first trained layer.

    >>> fingerprint_end(True, "mean", 6, 4), fingerprint_end(False, "mean", 4, 4)
    (' mean /4', ' to 4')
    """
    if not frozen:
        return f" to {tune_from}"
    return f" {pooling} /{subsampling}" if subsampling > 1 else f" {pooling}"


def weights_hash(*modules: nn.Module) -> str:
    """Hash the weights and buffers of ``modules``, by name, type, shape and value.

    >>> layer = nn.Linear(2, 2)
    >>> before = weights_hash(layer)
    >>> _ = layer.weight.data.add_(1)
    >>> len(before), weights_hash(layer) == before
    (32, False)
    """
    return tensors_hash(*(module.state_dict() for module in modules))


def tensors_hash(*states: Mapping[str, Any]) -> str:
    """Hash tensors by name, type, shape and value."""
    digest = blake2b(digest_size=16)
    for state in states:
        for name, value in state.items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()

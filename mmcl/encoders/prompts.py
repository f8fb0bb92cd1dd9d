"""A pool of trained prompts in front of a frozen transformer encoder, as in learning to prompt (L2P)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mmcl.config.numbers import Count, Size
from mmcl.encoders.additions import Addition
from mmcl.encoders.base import Encoded, Encoder
from mmcl.errors import ConfigError
from mmcl.freeze import freeze

_LARGEST = 0.01  # initial prompts and keys are uniform in [0, 0.01), as in the authors' code


@dataclass(frozen=True)
class Prompts(Addition):
    """Settings of a pool of prompts, L2P, Wang et al. 2022, arXiv 2112.08654, section 4.

    Args:
        size: number of prompts in the pool.
        top_k: number of prompts in front of a sample; 0 for none.
        length: vectors of a prompt.
        pooled: vector of a sample, the mean output of its prompts as in the paper (``"prompts"``), or the encoder's
            pooling over all other steps (``"encoder"``).

    Raises:
        ConfigError: a setting is out of range.

    >>> Prompts.of({"size": 20}).spec
    {'size': 20, 'top_k': 5, 'length': 5, 'pooled': 'prompts'}
    """

    key: ClassVar[str] = "prompts"

    size: Count = 10
    top_k: Size = 5
    length: Count = 5
    pooled: Literal["prompts", "encoder"] = "prompts"

    def __post_init__(self) -> None:
        if self.size < 1 or self.length < 1 or not 0 <= self.top_k <= self.size:
            raise ConfigError(
                f"prompts have size={self.size}, top_k={self.top_k}, length={self.length}: expected size and length of "
                "1 or more, and top_k of 0 to size"
            )
        if self.pooled not in ("prompts", "encoder") or (self.pooled == "prompts" and not self.top_k):
            raise ConfigError(
                f"prompts have pooled='{self.pooled}' and top_k={self.top_k}: expected pooled=encoder, or "
                "pooled=prompts with top_k of 1 or more"
            )

    def added_to(self, encoder: Encoder, name: str) -> Encoder:
        """Return a :class:`PromptedEncoder` of an encoder."""
        if encoder.prefix_width is None:
            raise ConfigError(
                f"'{name}' cannot have prompts: expected a Whisper, wav2vec 2.0, HuBERT, WavLM, ViT, DINOv2, CLIP or "
                "BERT from a folder or the hub; leave out prompts"
            )
        return PromptedEncoder(encoder, self)


class PromptedEncoder(Encoder):
    """Encode with a frozen encoder that gets trained prompts in front of its steps (L2P, Wang et al. 2022).

    The query ``q(x)`` is the frozen encoder's pooled vector. The prompts of a sample are those of the ``top_k`` keys
    with the highest ``cos(q(x), k_i)``, equation 3. They are put in front of the input of layer ``tune_from``, the
    first by default: ``x_p = [P_1; ...; P_k; x]``, equation 2. The pooled vector is the mean output of the prompts.
    L2P, arXiv 2112.08654.

    In training, prompts are those with the lowest ``(1 - cos(q(x), k_i)) h_i``, equation 4, if ``frequencies`` h are
    set, as ``l2p`` with ``diversify`` does.

    Differs from the paper: the query is the encoder's pooling, which is the class token for images alone.

    Args:
        encoder: a transformer with :meth:`~mmcl.encoders.base.Encoder.prefixed`, with the layers that see prompts
            as its tuned ones. It is frozen.
        prompts: settings of the pool.

    Attributes:
        pool: the prompts, ``(size, length, width)``.
        keys: their keys, ``(size, pooled_dim of the encoder)``.
        frequencies: how often each prompt was chosen, ``(size,)``; None to choose by distance alone.
        chosen: prompts of the last batch with gradients, ``(batch, top_k)``.
    """

    def __init__(self, encoder: Encoder, prompts: Prompts) -> None:
        super().__init__()
        self.encoder = freeze(encoder)
        self.settings = prompts
        self.modality, self.dim, self.own_dim, self.pooling = (
            encoder.modality, encoder.dim, encoder.own_dim, encoder.pooling,
        )  # fmt: skip
        if hasattr(encoder, "max_seconds"):
            self.max_seconds: Any = encoder.max_seconds
        width = encoder.prefix_width or encoder.dim
        self.pool = nn.Parameter(torch.rand(prompts.size, prompts.length, width) * _LARGEST)
        self.keys = nn.Parameter(torch.rand(prompts.size, encoder.pooled_dim) * _LARGEST)
        self.frequencies: Tensor | None = None
        self._query, self.chosen = torch.empty(0), torch.empty(0, dtype=torch.long)

    @property
    def pooled_dim(self) -> int:
        return self.dim if self.settings.pooled == "prompts" else self.encoder.pooled_dim

    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return those of the encoder: the input of layer ``tune_from``."""
        return self.encoder.frozen_features(inputs, lengths)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        with torch.no_grad():
            frozen = self.encoder.from_features(features, lengths)
        if not self.settings.top_k:
            return frozen
        chosen = self.choose(frozen.pooled)
        if torch.is_grad_enabled():
            self._query, self.chosen = frozen.pooled, chosen
        prompts, encoded = self.encoder.prefixed(self.pool[chosen].flatten(1, 2), features, lengths)
        return encoded._replace(pooled=prompts.mean(1)) if self.settings.pooled == "prompts" else encoded

    def choose(self, query: Tensor) -> Tensor:
        """Return the prompts ``(batch, top_k)`` of queries ``(batch, dim)``, best first."""
        similar = self.similarities(query)
        if self.training and self.frequencies is not None:
            return ((1 - similar) * self.frequencies).topk(self.settings.top_k, largest=False).indices
        return similar.topk(self.settings.top_k).indices

    def similarities(self, query: Tensor) -> Tensor:
        """Return the cosine of queries ``(batch, dim)`` and all keys, ``(batch, size)``."""
        return normalize(query.to(self.keys), dim=1) @ normalize(self.keys, dim=1).T

    def key_distance(self) -> Tensor:
        """Return ``mean over the batch of the sum over its keys of (1 - cos(q(x), k_i))`` for the last batch.

        Batches without gradients do not count.
        """
        if not self.settings.top_k:
            return self.keys.new_zeros(())
        return (1 - self.similarities(self._query).gather(1, self.chosen)).sum(1).mean()

    def fingerprint(self) -> str:
        """Identify the features of the encoder."""
        return self.encoder.fingerprint()

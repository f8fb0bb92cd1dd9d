"""EncodedTexts: a bounded cache of the vectors that a frozen text encoder computes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from mmcl.encoders.base import Encoder


class EncodedTexts:
    """Least-recently-used cache of text vectors.

    The cache holds vectors of one device and dtype. It is emptied when another is requested. A copy or pickle of the
    cache is empty, so that copying a model does not copy its cached texts.

    Args:
        size: largest number of texts to keep.

    >>> from mmcl.encoders import build_encoder
    >>> encoder, cache = build_encoder("text", "words", dim=8, frozen=True), EncodedTexts()
    >>> cache.encode(encoder, ["tea", "a latte", "tea"], torch.zeros(1)).shape, len(cache)
    (torch.Size([3, 8]), 2)
    """

    def __init__(self, size: int = 32_768) -> None:
        self.size = size
        self._place: tuple[torch.device, torch.dtype] | None = None
        self._vectors: OrderedDict[str, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._vectors)

    def __reduce__(self) -> tuple[type[EncodedTexts], tuple[int]]:
        return EncodedTexts, (self.size,)

    def clear(self) -> None:
        """Remove all vectors, because the weights of the encoder have changed."""
        self._vectors.clear()

    def encode(self, encoder: Encoder, texts: Sequence[str], like: Tensor) -> Tensor:
        """Return the pooled vectors of texts, ``(texts, pooled_dim)``, with the device and dtype of ``like``.

        Args:
            encoder: frozen text encoder, the same in every call.
            texts: one or more texts.
            like: tensor with the device and dtype of the result.
        """
        if self._place != (like.device, like.dtype):
            self._place = like.device, like.dtype
            self.clear()
        if missing := sorted(set(texts) - self._vectors.keys()):
            vectors = encoder(missing).pooled.to(like)
            # Clones, because a view would keep the whole batch in memory after the other texts are dropped.
            self._vectors.update((text, vector.clone()) for text, vector in zip(missing, vectors, strict=True))
        found = torch.stack([self._vectors[text] for text in texts])
        for text in texts:
            self._vectors.move_to_end(text)
        while len(self) > self.size:
            self._vectors.popitem(last=False)
        return found

"""Text encoders: embeddings of words learned from scratch, and pretrained ones of sentences."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from mmcl.batch import length_mask
from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.tuning import freeze_below
from mmcl.errors import ConfigError, ShapeError
from mmcl.freeze import freeze
from mmcl.text.words import folded, written_words

logger = logging.getLogger(__name__)

_LEAST_TOKENS = 3  # a word between the two that mark where a text begins and ends
_NO_WORD = 0  # a text without words is one step of this


class WordEncoder(Encoder):
    """Encode texts as trained vectors of their words, without order.

    A word in folded case has the row ``1 + crc32(word) mod buckets``, so that there is no vocabulary to build, save or
    run out of; of a few hundred words in 4096 rows, few share one. A text without words is one special token.

    Args:
        dim: size of a vector.
        buckets: rows for words.
        pooling: see :func:`~mmcl.encoders.base.pool`.

    >>> encoder = WordEncoder(dim=8)
    >>> encoded = encoder(["turn on the lights", "Lights!", ""])
    >>> encoded.sequence.shape, encoded.lengths.tolist()
    (torch.Size([3, 4, 8]), [4, 1, 1])
    """

    modality = "text"

    def __init__(self, *, dim: int = 256, buckets: int = 4096, pooling: str = "mean") -> None:
        super().__init__()
        if dim < 1 or buckets < 1:
            raise ConfigError(f"a word encoder has dim={dim} and buckets={buckets}, expected at least 1 each")
        self.dim = dim
        self.buckets = buckets
        self.pooling = pooling
        self.embedding = nn.Embedding(buckets + 1, dim)

    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the rows of the words, integers ``(batch, words, 1)``."""
        rows = [_word_rows(text, self.buckets) for text in checked_texts(inputs)]
        counts = [len(row) for row in rows]
        longest = max(counts)
        padded = torch.tensor([row + (_NO_WORD,) * (longest - len(row)) for row in rows])
        device = self.embedding.weight.device
        return padded[:, :, None].to(device), torch.tensor(counts, device=device)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        sequence = self.embedding(features[:, :, 0])
        return Encoded(sequence, lengths, pool(sequence, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Name the rule that gives a word its row and, where the encoder is frozen, its vectors and pooling."""
        return self._fingerprint(2)

    def former_fingerprint(self) -> str:
        """Name it as models have it that were saved when combining marks were no part of a word.

        Of texts without them, which are all of English, the rows are the same.
        """
        return self._fingerprint(1)

    def _fingerprint(self, rule: int) -> str:
        name = f"words {rule}: {self.buckets} buckets"
        return f"{name}; {weights_hash(self.embedding)} {self.pooling}" if self.frozen else name


class SentenceEncoder(Encoder):
    """Encode texts with a pretrained encoder such as MiniLM; vectors are not normalised.

    A text of more tokens than the model takes is cut, and that is logged.

    Args:
        model: a transformers model of texts.
        tokenizer: its tokenizer.
        tune_from: train the layers from this one on (with 0 the embeddings stay frozen); None freezes all.
        pooling: ``"cls"`` for the first token, or see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: there is no layer ``tune_from``, the layers are not where those of BERT are, or the tokenizer says
            that the model takes no text.
    """

    modality = "text"

    def __init__(self, model: Any, tokenizer: Any, *, tune_from: int | None = None, pooling: str = "mean") -> None:
        super().__init__()
        model.pooler = None  # made for classification, and not even in every checkpoint
        tokenizer.padding_side = "right"
        self.model = model
        self.tokenizer = tokenizer
        self.dim = model.config.hidden_size
        self.pooling = pooling
        self.cut_texts = CutTexts()
        self.max_tokens = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        if not isinstance(self.max_tokens, int) or self.max_tokens < _LEAST_TOKENS:
            raise ConfigError(
                f"the text encoder takes {self.max_tokens!r:.60} tokens, expected {_LEAST_TOKENS} or more: see "
                "model_max_length in tokenizer_config.json"
            )
        if tune_from is None:
            self.frozen = True
            freeze(self)
        else:
            layers = getattr(getattr(model, "encoder", None), "layer", None)
            if layers is None:
                raise ConfigError(
                    f"a model of type '{model.config.model_type}' cannot be tuned from a layer, expected one built "
                    "like BERT: pass frozen=True"
                )
            freeze_below(model.name_or_path, tune_from, [model.embeddings], layers)

    def frozen_features(self, inputs: Any, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the last hidden states ``(batch, tokens, dim)``, or where layers are trained the tokens themselves,
        integers ``(batch, tokens, 1)``."""
        texts = checked_texts(inputs)
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        lengths = tokens["attention_mask"].sum(1)
        full = [text for text, length in zip(texts, lengths.tolist(), strict=True) if length == self.max_tokens]
        whole = self.tokenizer(full, verbose=False)["input_ids"] if full else []
        longer = [text for text, known in zip(full, whole, strict=True) if len(known) > self.max_tokens]
        self.cut_texts.log(longer, len(texts), self.max_tokens)
        if not self.frozen:
            return tokens["input_ids"][:, :, None], lengths
        with torch.no_grad():
            return self._encode(tokens["input_ids"], lengths), lengths

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        if not self.frozen:
            features = self._encode(features[:, :, 0], lengths)
        pooled = features[:, 0] if self.pooling == "cls" else pool(features, lengths, self.pooling)
        return Encoded(features, lengths, pooled)

    def fingerprint(self) -> str:
        """Name the tokenizer and, where the encoder is frozen, its weights and pooling."""
        vocabulary = zlib.crc32(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        name = f"{self.model.config.model_type} 1: vocabulary {vocabulary}, at most {self.max_tokens} tokens"
        return f"{name}; {weights_hash(self.model)} {self.pooling}" if self.frozen else name

    def _encode(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        mask = length_mask(lengths, tokens.shape[1])
        padding = self.tokenizer.pad_token_id
        hidden = self.model(tokens.masked_fill(~mask, padding), attention_mask=mask.long()).last_hidden_state
        return hidden * mask[:, :, None]


@lru_cache(maxsize=65_536)
def _word_rows(text: str, buckets: int) -> tuple[int, ...]:
    return tuple(1 + zlib.crc32(word.encode()) % buckets for word in written_words(folded(text))) or (_NO_WORD,)


class CutTexts:
    """Log how many texts an encoder had to cut, and one of them; a text that comes again is not counted again.

    >>> CutTexts().log([], 8, 512)
    """

    def __init__(self) -> None:
        self.known: set[str] = set()

    def log(self, cut: Sequence[str], texts: int, tokens: int) -> None:
        """Log those of ``cut`` that are new, of so many ``texts``, which were cut to so many ``tokens``."""
        new = list(dict.fromkeys(text for text in cut if text not in self.known))
        if new:
            self.known.update(new)
            start = " ".join(new[0].split())[:40]
            logger.warning("cut %d of %d texts to %d tokens, first '%s ...'", len(new), texts, tokens, start)


def checked_texts(texts: Any) -> list[str]:
    """Return ``texts`` once it is known to be some; raises ShapeError if not."""
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ShapeError(f"a text encoder got {type(texts).__name__}, expected a list of str")
    if not texts:
        raise ShapeError("a text encoder got 0 texts, expected at least 1")
    return list(texts)

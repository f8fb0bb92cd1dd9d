"""Text encoders: word embeddings trained from scratch, and pretrained sentence encoders."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmcl.batch import length_mask, moved
from mmcl.encoders.base import Encoded, Encoder, pool, weights_hash
from mmcl.encoders.tuning import freeze_below, split_prefix
from mmcl.errors import ConfigError, ShapeError
from mmcl.freeze import freeze
from mmcl.text.words import folded, written_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_MIN_TOKENS = 3  # one word between the begin and end tokens
_NO_WORD = 0  # the only step of a text without words


class WordEncoder(Encoder):
    """Encode texts as trained word embeddings, without word order.

    A case-folded word has the embedding ``1 + crc32(word) mod buckets``, so there is no vocabulary to build or save.
    Among a few hundred words in 4096 buckets, few collide. A text without words is one special token.

    Args:
        dim: size of an embedding.
        buckets: number of embeddings for words.
        pooling: see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: if ``dim`` or ``buckets`` is less than 1.
        ShapeError: (when called) if the inputs are not a list of texts.

    >>> encoder = WordEncoder(dim=8)
    >>> encoded = encoder(["turn on the lights", "Lights!", ""])
    >>> encoded.sequence.shape, encoded.lengths.tolist()
    (torch.Size([3, 4, 8]), [4, 1, 1])
    """

    modality = "text"

    def __init__(self, *, dim: int = 256, buckets: int = 4096, pooling: str = "mean") -> None:
        super().__init__()
        if dim < 1 or buckets < 1:
            raise ConfigError(f"the word encoder has dim={dim} and buckets={buckets}, expected at least 1 for each")
        self.dim = dim
        self.buckets = buckets
        self.pooling = pooling
        self.embedding = nn.Embedding(buckets + 1, dim)

    def frozen_features(self, inputs: Sequence[str], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the embedding indices of the words, integers ``(batch, words, 1)``, and lengths."""
        rows = [_word_rows(text, self.buckets) for text in checked_texts(inputs)]
        counts = [len(row) for row in rows]
        longest = max(counts)
        padded = torch.tensor([row + (_NO_WORD,) * (longest - len(row)) for row in rows])
        device = self.embedding.weight.device
        return moved(padded[:, :, None], device), moved(torch.tensor(counts), device)

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        sequence = self.embedding(features[:, :, 0])
        return Encoded(sequence, lengths, pool(sequence, lengths, self.pooling))

    def fingerprint(self) -> str:
        """Identify the mapping of words to embeddings and, if the encoder is frozen, its embeddings and pooling."""
        return self._fingerprint(2)

    def former_fingerprint(self) -> str:
        """Return the fingerprint of the former version, in which combining marks were not part of a word.

        Older saved models hold it. Texts without combining marks, such as English, have the same encodings.
        """
        return self._fingerprint(1)

    def _fingerprint(self, version: int) -> str:
        name = f"words {version}: {self.buckets} buckets"
        return f"{name}; {weights_hash(self.embedding)} {self.pooling}" if self.frozen else name


class SentenceEncoder(Encoder):
    """Encode texts with a pretrained encoder such as MiniLM; encodings are not normalized.

    Texts with too many tokens for the model are truncated, with a warning in the log.

    Args:
        model: a text encoder of transformers.
        tokenizer: its tokenizer.
        tune_from: train the layers from this one on, but not the embeddings; None freezes all.
        pooling: ``"cls"`` for the first token, or see :func:`~mmcl.encoders.base.pool`.

    Raises:
        ConfigError: if there is no layer ``tune_from``, the layers are not organized as in BERT, or the tokenizer's
            maximum length is too small.
        ShapeError: (when called) if the inputs are not a list of texts.
    """

    modality = "text"

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        tune_from: int | None = None,
        pooling: str = "mean",
    ) -> None:
        super().__init__()
        model.pooler = None  # unused, and missing in some checkpoints
        tokenizer.padding_side = "right"
        self.model = model
        self.tokenizer = tokenizer
        self.dim = model.config.hidden_size
        self.pooling = pooling
        self.tune_from = tune_from
        self.truncation_log = TruncationLog()
        self.max_tokens = min(tokenizer.model_max_length, model.config.max_position_embeddings)
        if not isinstance(self.max_tokens, int) or self.max_tokens < _MIN_TOKENS:
            raise ConfigError(
                f"the text encoder accepts {self.max_tokens!r:.60} tokens, expected {_MIN_TOKENS} or more: correct "
                "model_max_length in tokenizer_config.json"
            )
        if tune_from is None:
            self.frozen = True
            freeze(self)
        else:
            layers = getattr(getattr(model, "encoder", None), "layer", None)
            if layers is None:
                raise ConfigError(
                    f"a model of type '{model.config.model_type}' does not support tune_from, expected a model with "
                    "the layers of BERT: pass frozen=True"
                )
            freeze_below(model.name_or_path, tune_from, [model.embeddings], layers)
            self.prefix_width = self.dim

    def frozen_features(self, inputs: Sequence[str], lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the last hidden states ``(batch, tokens, dim)`` if frozen, else token ids ``(batch, tokens, 1)``."""
        texts = checked_texts(inputs)
        tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt")
        tokens = tokens.to(self.model.device)
        lengths = tokens["attention_mask"].sum(1)
        full = [text for text, length in zip(texts, lengths.tolist(), strict=True) if length == self.max_tokens]
        untruncated = self.tokenizer(full, verbose=False)["input_ids"] if full else []
        longer = [text for text, ids in zip(full, untruncated, strict=True) if len(ids) > self.max_tokens]
        self.truncation_log.log(longer, len(texts), self.max_tokens)
        if not self.frozen:
            return tokens["input_ids"][:, :, None], lengths
        with torch.no_grad():
            return self._encode(tokens["input_ids"], lengths), lengths

    def from_features(self, features: Tensor, lengths: Tensor) -> Encoded:
        return self._pooled(features if self.frozen else self._encode(features[:, :, 0], lengths), lengths)

    def prefixed(self, prefix: Tensor, features: Tensor, lengths: Tensor) -> tuple[Tensor, Encoded]:
        mask = length_mask(lengths, features.shape[1])
        hidden = self.model.embeddings(features[:, :, 0].masked_fill(~mask, self.tokenizer.pad_token_id))
        layers, start = self.model.encoder.layer, self.tune_from or 0
        hidden = _layers(layers[:start], hidden, lengths)
        outputs, hidden = split_prefix(partial(_layers, layers[start:]), prefix, hidden, lengths)
        return outputs, self._pooled(hidden * mask[:, :, None], lengths)

    def tuned_layers(self) -> Sequence[nn.Module]:
        return () if self.frozen else self.model.encoder.layer[self.tune_from :]

    def fingerprint(self) -> str:
        """Identify the tokenizer and, if the encoder is frozen, its weights and pooling."""
        vocabulary = zlib.crc32(repr(sorted(self.tokenizer.get_vocab().items())).encode())
        name = f"{self.model.config.model_type} 1: vocabulary {vocabulary}, at most {self.max_tokens} tokens"
        return f"{name}; {weights_hash(self.model)} {self.pooling}" if self.frozen else name

    def _pooled(self, sequence: Tensor, lengths: Tensor) -> Encoded:
        pooled = sequence[:, 0] if self.pooling == "cls" else pool(sequence, lengths, self.pooling)
        return Encoded(sequence, lengths, pooled)

    def _encode(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        mask = length_mask(lengths, tokens.shape[1])
        padding = self.tokenizer.pad_token_id
        hidden = self.model(tokens.masked_fill(~mask, padding), attention_mask=mask.long()).last_hidden_state
        return hidden * mask[:, :, None]


def _layers(layers: Iterable[nn.Module], hidden: Tensor, lengths: Tensor) -> Tensor:
    """Apply layers of BERT, without attention to the padding."""
    steps = hidden.shape[1]
    attended = length_mask(lengths, steps)[:, None, None, :].expand(-1, 1, steps, -1)
    for layer in layers:
        hidden = layer(hidden, attended)
    return hidden


@lru_cache(maxsize=65_536)
def _word_rows(text: str, buckets: int) -> tuple[int, ...]:
    return tuple(1 + zlib.crc32(word.encode()) % buckets for word in written_words(folded(text))) or (_NO_WORD,)


class TruncationLog:
    """Log the number of truncated texts, and the first of them; each text is logged once.

    >>> TruncationLog().log([], 8, 512)
    """

    def __init__(self) -> None:
        self.logged: set[str] = set()

    def log(self, truncated: Sequence[str], texts: int, tokens: int) -> None:
        """Log texts that were not logged before.

        Args:
            truncated: the truncated texts.
            texts: the number of texts in the batch.
            tokens: the number of tokens that the texts were truncated to.
        """
        new = list(dict.fromkeys(text for text in truncated if text not in self.logged))
        if new:
            self.logged.update(new)
            start = " ".join(new[0].split())[:40]
            logger.warning("truncated %d of %d texts to %d tokens, first '%s ...'", len(new), texts, tokens, start)


def checked_texts(texts: object) -> list[str]:
    """Return ``texts`` as a list.

    Raises:
        ShapeError: if ``texts`` is not a sequence of str, or is empty.
    """
    if isinstance(texts, str) or not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        raise ShapeError(f"the text encoder got {type(texts).__name__}, expected a list of str")
    if not texts:
        raise ShapeError("the text encoder got 0 texts, expected at least 1")
    return list(texts)

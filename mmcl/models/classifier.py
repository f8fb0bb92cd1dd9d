"""SLUClassifier: an encoder, a hidden layer and a head that grows with the classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmcl.batch import Batch
from mmcl.config.whole_numbers import whole_numbers
from mmcl.encoders.base import Encoder
from mmcl.encoders.standardize import standardization
from mmcl.errors import ConfigError, LabelError


class Classified(NamedTuple):
    """What a classifier makes of a batch: ``logits`` ``(batch, classes)`` and the ``embedding`` ``(batch, dim)`` they
    were read from. Logits of classes that have not arrived are minus infinity."""

    logits: Tensor
    embedding: Tensor


class GrowingHead(nn.Module):
    """A linear classifier whose column is the label, and which opens columns as classes arrive.

    The weights of classes that were there stay what they were. Columns below the largest label that have not arrived
    are closed: their logit is minus infinity, so that they take no part in a softmax and are never predicted.

    >>> head = GrowingHead(4)
    >>> head.grow([2])
    >>> head(torch.zeros(1, 4)).shape, head.seen.tolist()
    (torch.Size([1, 3]), [False, False, True])
    """

    seen: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, dim))
        self.bias = nn.Parameter(torch.empty(0))
        self.register_buffer("seen", torch.empty(0, dtype=torch.bool))
        self._all_seen = True

    def grow(self, labels: Iterable[int]) -> None:
        """Open the columns of ``labels``; columns that are open already stay as they are."""
        labels = whole_numbers(labels, "labels", error=LabelError)
        if labels and min(labels) < 0:
            raise LabelError(f"label {min(labels)} is negative, expected 0 or more: check the data set's labels")
        size = max([len(self.seen), *(label + 1 for label in labels)])
        self._resize(size)
        self.seen[torch.tensor(labels, dtype=torch.long, device=self.seen.device)] = True
        self._all_seen = bool(self.seen.all())

    def reset_parameters(self) -> None:
        """Draw the weights of all columns anew."""
        fresh = nn.Linear(self.weight.shape[1], len(self.seen), device=self.weight.device, dtype=self.weight.dtype)
        with torch.no_grad():
            self.weight.copy_(fresh.weight)
            self.bias.copy_(fresh.bias)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits ``(batch, classes)`` of embeddings ``(batch, dim)``."""
        logits = nn.functional.linear(embedding, self.weight, self.bias)
        return logits if self._all_seen else logits.masked_fill(~self.seen, float("-inf"))

    def _resize(self, size: int) -> None:
        added = size - len(self.seen)
        if added <= 0:
            return
        fresh = nn.Linear(self.weight.shape[1], added, device=self.weight.device, dtype=self.weight.dtype)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), fresh.weight.detach()]))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), fresh.bias.detach()]))
        self.seen = torch.cat([self.seen, self.seen.new_zeros(added)])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # A saved head may have other columns: take its size before torch compares the shapes.
        saved = state_dict.get(f"{prefix}seen")
        if saved is not None and saved.shape != self.seen.shape:
            self.weight = nn.Parameter(self.weight.new_empty(len(saved), self.weight.shape[1]))
            self.bias = nn.Parameter(self.bias.new_empty(len(saved)))
            self.seen = self.seen.new_empty(len(saved))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._all_seen = bool(self.seen.all())


class SLUClassifier(nn.Module):
    """Classify what is said: encoder -> pooled -> one hidden layer -> growing head.

    Args:
        encoder: makes ``pooled`` of a batch's ``audio``, or of its cached ``features``.
        hidden: width of the hidden layer, whose output is the embedding.
        dropout: share of the hidden layer dropped in training.
        text_encoder: with it the model has an audio-text space: embeddings and texts, each through one linear
            projection, can be compared (COCONUT). A frozen one encodes each text once.
        projection: dimension of that space.

    A batch has ``features`` (of :func:`~mmcl.encoders.cached_features`) or else the encoder's own modality.

    Attributes:
        classes: names of the classes by label, of a model that was exported; of others none.

    >>> from mmcl.encoders import build_encoder
    >>> model = SLUClassifier(build_encoder("audio", "cnn"), hidden=32)
    >>> model.grow([0, 1, 2])
    >>> batch = Batch(audio=torch.zeros(2, 16000), audio_lengths=torch.tensor([16000, 8000]))
    >>> model(batch).logits.shape, model(batch).embedding.shape
    (torch.Size([2, 3]), torch.Size([2, 32]))
    """

    gain: Tensor
    offset: Tensor
    classes: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: Encoder,
        *,
        hidden: int = 256,
        dropout: float = 0.0,
        text_encoder: Encoder | None = None,
        projection: int = 512,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("gain", torch.ones(encoder.pooled_dim))
        self.register_buffer("offset", torch.zeros(encoder.pooled_dim))
        self.trunk = nn.Sequential(nn.Linear(encoder.pooled_dim, hidden), nn.ReLU(), nn.Dropout(dropout))
        self.head = GrowingHead(hidden)
        self.text_encoder = text_encoder
        if text_encoder is not None:
            self.audio_projection = nn.Linear(hidden, projection)
            self.text_projection = nn.Linear(text_encoder.pooled_dim, projection)
        self._encoded_texts: dict[str, Tensor] = {}

    def grow(self, labels: Iterable[int]) -> None:
        """Open the head's columns of ``labels``."""
        self.head.grow(labels)

    def standardize(self, pooled: Tensor) -> None:
        """Scale what the encoder gives to mean 0 and deviation 1 from now on, as it is in ``pooled``.

        Dimensions of pretrained features differ in size by orders of magnitude, which slows the layers on top of them
        down. Give the features ``(samples, pooled_dim)`` of the first experience: later ones are not known yet.
        A feature that does not vary keeps its scale, see :func:`~mmcl.encoders.standardize.standardization`.

        Raises:
            ShapeError, InputError: features of another size, none, or not finite.
        """
        scaling = standardization(pooled, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    def embed(self, batch: Batch) -> Tensor:
        """Return embeddings ``(batch, hidden)``."""
        if "features" not in batch:
            modality = self.encoder.modality
            pooled = self.encoder(batch[modality], batch.get(f"{modality}_lengths")).pooled
        elif "features_lengths" in batch:
            pooled = self.encoder.from_features(batch["features"], batch["features_lengths"]).pooled
        else:
            pooled = batch["features"]
        return self.trunk(torch.addcmul(self.offset, pooled, self.gain))

    def forward(self, batch: Batch) -> Classified:
        embedding = self.embed(batch)
        return Classified(self.head(embedding), embedding)

    def project_audio(self, embedding: Tensor) -> Tensor:
        """Embeddings ``(batch, hidden)`` in the audio-text space, ``(batch, projection)``."""
        self._text_side()
        return self.audio_projection(embedding)

    def project_text(self, batch: Batch) -> Tensor:
        """The ``text`` of a batch in the audio-text space, ``(batch, projection)``."""
        encoder, texts = self._text_side(), batch["text"]
        if not encoder.frozen:
            return self.text_projection(encoder(texts).pooled)
        if missing := sorted(set(texts) - self._encoded_texts.keys()):
            self._encoded_texts |= zip(missing, encoder(missing).pooled, strict=True)
        return self.text_projection(torch.stack([self._encoded_texts[text] for text in texts]))

    def _text_side(self) -> Encoder:
        if self.text_encoder is None:
            raise ConfigError(
                "the model has no text encoder, which the audio-text space needs: "
                'pass text_encoder=build_encoder("text", "words") to SLUClassifier'
            )
        return self.text_encoder

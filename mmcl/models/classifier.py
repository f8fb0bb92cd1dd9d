"""SLUClassifier: an encoder of any modality, a hidden layer and a head that grows with the classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.config.numbers import Count, Probability
from mmcl.encoders.base import Encoder
from mmcl.encoders.fused_views import FusedViews
from mmcl.encoders.standardize import standardization
from mmcl.errors import ConfigError
from mmcl.models.encoded_texts import EncodedTexts
from mmcl.models.heads.growing import GrowingHead
from mmcl.models.readouts.base import ReadOut, active_read_out


class Classified(NamedTuple):
    """Output of a classifier.

    Attributes:
        logits: ``(batch, classes)``, minus infinity for classes that have not arrived.
        embedding: input of the classifier head, ``(batch, dim)``.
    """

    logits: Tensor
    embedding: Tensor


class SLUClassifier(nn.Module):
    """Classifier of utterances, images, texts, or several views: encoder -> vector -> hidden layer -> growing head.

    In evaluation, a read-out classifies embeddings in place of the head, once it has been solved.

    A batch holds ``features`` of :func:`~mmcl.encoders.cached_features`, or inputs of the encoder's modality. For
    several views, it holds those of :class:`~mmcl.encoders.views.CachedViews`, or the inputs by view.

    Args:
        encoder: an encoder of any modality, or :class:`~mmcl.encoders.fused_views.FusedViews`.
        hidden: width of the hidden layer, whose output is the embedding; None for no hidden layer, where the
            standardized pooled vector is the embedding.
        dropout: dropout rate of the hidden layer.
        text_encoder: adds a text space (the audio-text space of COCONUT), in which one linear projection of embeddings
            and one of texts can be compared. A frozen text encoder encodes each text once.
        projection: dimension of the text space.
        readout: closed-form classifier of embeddings, see :mod:`mmcl.models.readouts`.

    Attributes:
        classes: class names by label if the model was exported, else empty.

    >>> from mmcl.encoders import build_encoder
    >>> model = SLUClassifier(build_encoder("audio", "cnn"), hidden=32)
    >>> model.grow([0, 1, 2])
    >>> batch = Batch(audio=torch.zeros(2, 16000), audio_lengths=torch.tensor([16000, 8000]))
    >>> model(batch).logits.shape, model(batch).embedding.shape
    (torch.Size([2, 3]), torch.Size([2, 32]))
    """

    readout: ReadOut | None
    gain: Tensor
    offset: Tensor
    classes: tuple[str, ...] = ()

    def __init__(
        self,
        encoder: Encoder | FusedViews,
        *,
        hidden: Count | None = 256,
        dropout: Probability = 0.0,
        text_encoder: Encoder | None = None,
        projection: Count = 512,
        readout: ReadOut | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.register_buffer("gain", torch.ones(encoder.pooled_dim))
        self.register_buffer("offset", torch.zeros(encoder.pooled_dim))
        dim = encoder.pooled_dim if hidden is None else hidden
        layers = () if hidden is None else (nn.Linear(encoder.pooled_dim, dim), nn.ReLU(), nn.Dropout(dropout))
        self.trunk = nn.Sequential(*layers)
        self.head = GrowingHead(dim)
        self.readout = readout
        self.text_encoder = text_encoder
        if text_encoder is not None:
            self.audio_projection = nn.Linear(dim, projection)
            self.text_projection = nn.Linear(text_encoder.pooled_dim, projection)
        self._encoded_texts = EncodedTexts()

    @property
    def settings(self) -> dict[str, object]:
        """The arguments ``hidden`` and ``dropout`` of the constructor."""
        if not len(self.trunk):
            return {"hidden": None, "dropout": 0.0}
        linear, _, dropout = self.trunk
        return {"hidden": linear.out_features, "dropout": dropout.p}

    def grow(self, labels: Iterable[int]) -> None:
        """Add the columns of ``labels`` to the head."""
        self.head.grow(labels)

    @takes_tensors
    def standardize(self, pooled: Tensor) -> None:
        """Set the feature scaling to mean 0 and standard deviation 1 on the given features.

        The dimensions of pretrained features differ in scale by orders of magnitude, which slows training. Pass the
        features of the first experience: those of later experiences are not known yet. Constant features keep their
        scale, see :func:`~mmcl.encoders.standardize.standardization`.

        Args:
            pooled: pooled features, ``(samples, pooled_dim)``.

        Raises:
            ShapeError, InputError: the features have another size, are empty, or are not finite.
        """
        scaling = standardization(pooled, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    @takes_tensors
    def embed(self, batch: Batch) -> Tensor:
        """Return embeddings ``(batch, hidden)``."""
        pooled = self.encoder.encode_batch(batch).pooled
        return self.trunk(torch.addcmul(self.offset, pooled, self.gain))

    @takes_tensors
    def forward(self, batch: Batch) -> Classified:
        """Return logits ``(batch, classes)`` and embeddings ``(batch, hidden)``."""
        embedding, classifier = self.embed(batch), active_read_out(self) or self.head
        return Classified(classifier(embedding), embedding)

    def project_audio(self, embedding: Tensor) -> Tensor:
        """Project embeddings ``(batch, hidden)`` to the text space, ``(batch, projection)``.

        Raises:
            ConfigError: the model has no text encoder.
        """
        self._text_side()
        return self.audio_projection(embedding)

    def project_text(self, batch: Batch) -> Tensor:
        """Project the ``text`` of a batch to the text space, ``(batch, projection)``.

        Raises:
            ConfigError: the model has no text encoder.
        """
        encoder, texts = self._text_side(), batch["text"]
        if encoder.frozen:
            return self.text_projection(self._encoded_texts.encode(encoder, texts, self.text_projection.weight))
        return self.text_projection(encoder(texts).pooled)

    def _text_side(self) -> Encoder:
        if self.text_encoder is None:
            raise ConfigError(
                "the model has no text encoder, which the text space needs: "
                'pass text_encoder=build_encoder("text", "words") to SLUClassifier'
            )
        return self.text_encoder

    def _load_from_state_dict(self, *args: object) -> None:
        self._encoded_texts.clear()
        super()._load_from_state_dict(*args)

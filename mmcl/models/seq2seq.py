"""SLUSeq2Seq: an audio encoder and a transformer decoder that generates an intent, entities and a transcript."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers.modeling_outputs import BaseModelOutput

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch, length_mask
from mmcl.config.numbers import AtLeastTwo, Count, Probability, Size
from mmcl.config.whole_numbers import whole_numbers
from mmcl.encoders.base import Encoded, Encoder, pool
from mmcl.encoders.standardize import standardization
from mmcl.errors import CheckpointError, ConfigError, LabelError
from mmcl.models.beam_search import BeamSearchDecoder
from mmcl.models.frame import Frame
from mmcl.models.tokenizer import FrameTokenizer
from mmcl.models.transformer_config import POSITIONS, transformer_config

_MOST_BEAMS = 1000


class TeacherForced(NamedTuple):
    """Output of a sequence model in training.

    Attributes:
        logits: logits of each next token, ``(batch, steps, tokens)``.
        targets: target tokens, ``(batch, steps)``, -100 after the end token.
        encoded: encoded audio.
        embedding: mean of the encoded audio, ``(batch, dim)``.
    """

    logits: Tensor
    targets: Tensor
    encoded: Encoded
    embedding: Tensor


class Understood(NamedTuple):
    """Output of a sequence model in evaluation.

    Attributes:
        logits: ``(batch, intents + 1)``: 0 for the decoded intent, minus infinity elsewhere; the last is for none.
        embedding: mean of the encoded audio, ``(batch, dim)``.
        frames: decoded frames.
    """

    logits: Tensor
    embedding: Tensor
    frames: list[Frame]


class SLUSeq2Seq(nn.Module):
    """Generate ``intent SEP [type FILL value SEP ...] transcript`` from speech.

    The encoder's steps pass through a linear layer and ``encoder_layers`` transformer layers. A pre-norm transformer
    decoder with sinusoidal positions attends to them. Both are the Pegasus model of transformers, which provides beam
    search. Padding is masked everywhere.

    The system of Cappellazzo et al., arXiv 2305.13899 and 2310.02699: 6 layers, dimension 768, 8 heads, a trained
    encoder. Differs from the paper: a linear layer and a layer normalization between encoder and decoder. Together with
    ``encoder_layers`` they are the trained audio layers if the encoder is frozen and its features are cached.

    The model has an audio-text space for COCONUT. It compares the mean of the encoded steps with the decoder's
    embedding of the intent token, each after one linear projection.

    In training ``model(batch)`` returns :class:`TeacherForced`. In evaluation it decodes and returns
    :class:`Understood`.

    Args:
        encoder: encodes a batch's ``audio`` or its cached ``features``.
        tokenizer: tokenizer of the training data's intents and words.
        dim: width of the decoder.
        layers: layers of the decoder.
        heads: attention heads of the decoder.
        feedforward: width of the feed-forward layers.
        encoder_layers: number of transformer layers on top of the encoder.
        summary: prepend the mean and maximum of the steps, which the decoder uses before its attention is trained.
        dropout: dropout rate of all transformer layers.
        tied: share one matrix between input and output tokens.
        projection: dimension of the audio-text space.
        entities: generate entities; if False, the target is ``intent SEP transcript``.
        beams: beam width in evaluation; 1 is greedy decoding.
        length_penalty: sequences are ranked by log-probability / tokens^length_penalty. Differs from the published
            code, which divides each step by ((5 + tokens) / 6)^0.6.
        max_tokens: largest number of decoded tokens.

    Raises:
        ConfigError: incompatible sizes.
        LabelError: a label has no intent in the tokenizer.

    >>> from mmcl.encoders import build_encoder
    >>> tokenizer = FrameTokenizer.train([Frame("lights on", (), "turn on the lights")], ["lights on"], dropout=0.0)
    >>> model = SLUSeq2Seq(build_encoder("audio", "cnn"), tokenizer, dim=32, layers=1, heads=2, feedforward=64)
    >>> audio = {"audio": torch.zeros(1, 16000), "audio_lengths": torch.tensor([16000])}
    >>> batch = Batch(label=torch.tensor([0]), text=["turn on the lights"], **audio)
    >>> model(batch).logits.shape == (1, 7, len(tokenizer)), len(model.eval()(batch).frames)
    (True, 1)
    """

    gain: Tensor
    offset: Tensor

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: FrameTokenizer,
        *,
        dim: AtLeastTwo = 768,
        layers: Count = 6,
        heads: Count = 8,
        feedforward: Count = 3072,
        encoder_layers: Size = 0,
        summary: bool = False,
        dropout: Probability = 0.1,
        tied: bool = False,
        projection: Count = 512,
        entities: bool = True,
        beams: Count = 1,
        length_penalty: float = 0.6,
        max_tokens: Count = 130,
    ) -> None:
        super().__init__()
        if not (
            1 <= beams <= _MOST_BEAMS and 1 <= max_tokens <= POSITIONS and projection >= 1 and isfinite(length_penalty)
        ):
            raise ConfigError(
                f"beams={beams}, max_tokens={max_tokens}, projection={projection}, length_penalty={length_penalty}: "
                f"expected 1 to {_MOST_BEAMS} beams, 1 to {POSITIONS} tokens, projection of 1 or more, a finite penalty"
            )
        config = transformer_config(
            tokenizer,
            dim=dim,
            layers=layers,
            heads=heads,
            feedforward=feedforward,
            encoder_layers=encoder_layers,
            dropout=dropout,
            tied=tied,
            positions=max(POSITIONS, max_tokens + 1),
        )
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.entities = entities
        self.beams, self.length_penalty, self.max_tokens = beams, length_penalty, max_tokens
        self.register_buffer("gain", torch.ones(encoder.dim))
        self.register_buffer("offset", torch.zeros(encoder.dim))
        self.input = nn.Linear(encoder.dim, dim)
        self.summary = nn.Linear(2 * encoder.dim, dim) if summary else None
        self.transformer = BeamSearchDecoder(config)
        self.audio_projection = nn.Linear(dim, projection)
        self.text_projection = nn.Linear(dim, projection)

    def grow(self, labels: Iterable[int]) -> None:
        """Check that every label has an intent. The vocabulary is fixed, so that no layer grows.

        Raises:
            LabelError: a label has no intent.
        """
        if unknown := sorted(
            label
            for label in whole_numbers(labels, "labels", error=LabelError)
            if not 0 <= label < len(self.tokenizer.intents)
        ):
            raise LabelError(
                f"label {unknown[0]} has no intent, expected 0 to {len(self.tokenizer.intents) - 1}: train the "
                "tokenizer on this data set"
            )

    def standardize(self, steps: Tensor) -> None:
        """Set the feature scaling to mean 0 and standard deviation 1 on the given encoder steps.

        Pass the steps of the first experience: those of later experiences are not known yet. Constant features keep
        their scale, see :func:`~mmcl.encoders.standardize.standardization`.

        Args:
            steps: ``(steps, dim)``.

        Raises:
            ShapeError, InputError: the steps have another size, are empty, or are not finite.
        """
        scaling = standardization(steps, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    def encode(self, batch: Batch) -> Encoded:
        """Return the steps that the decoder attends to, ``(batch, steps, dim)``, their lengths and their mean."""
        encoded = self.encoder.encode_batch(batch)
        lengths = encoded.lengths
        steps = torch.addcmul(self.offset, encoded.sequence, self.gain)
        summary = None if self.summary is None else self.summary(pool(steps, lengths, "mean_max"))
        steps = self.input(steps)
        if summary is not None:
            steps, lengths = torch.cat([summary[:, None], steps], dim=1), lengths + 1
        mask = length_mask(lengths, steps.shape[1])
        hidden = self.transformer.model.encoder(inputs_embeds=steps, attention_mask=mask.long())
        sequence = hidden.last_hidden_state * mask[:, :, None]
        return Encoded(sequence, lengths, pool(sequence, lengths))

    def embed(self, batch: Batch) -> Tensor:
        """Return the mean of the encoded steps, ``(batch, dim)``."""
        return self.encode(batch).pooled

    def frames(self, batch: Batch) -> list[Frame]:
        """Return the target frames of a batch, from its ``label``, ``entities`` and ``text``."""
        entities = batch.get("entities") if self.entities else None
        rows = zip(batch["label"].tolist(), entities or [()] * batch.size, batch["text"], strict=True)
        return [self.tokenizer.frame(*row) for row in rows]

    def targets(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Return token sequences padded with -100, the label that losses ignore, ``(batch, steps)``."""
        rows = [torch.tensor(sequence) for sequence in sequences]
        return pad_sequence(rows, batch_first=True, padding_value=-100).to(self.gain.device)

    def teacher_forced(self, encoded: Encoded, targets: Tensor) -> Tensor:
        """Return the logits of each token given the target tokens before it, ``(batch, steps, tokens)``."""
        inputs = pad(targets[:, :-1], (1, 0), value=self.tokenizer.start)
        return self.transformer(
            **_encoder_arguments(encoded),
            decoder_input_ids=inputs.masked_fill(inputs == -100, self.tokenizer.pad),
            use_cache=False,
        ).logits

    @takes_tensors
    def forward(self, batch: Batch) -> TeacherForced | Understood:
        """Return the logits of the target tokens in training, and decoded frames with intent logits in evaluation."""
        encoded = self.encode(batch)
        if not self.training:
            frames = [self.tokenizer.decode(sequence) for sequence in self.decode(encoded)]
            return Understood(self._one_hot(frames), encoded.pooled, frames)
        targets = self.targets([self.tokenizer.encode(frame, sample=True) for frame in self.frames(batch)])
        return TeacherForced(self.teacher_forced(encoded, targets), targets, encoded, encoded.pooled)

    @torch.no_grad()
    def decode(self, encoded: Encoded, *, beams: int | None = None) -> list[list[int]]:
        """Return the token sequence that beam search finds for each utterance, with its end token.

        Args:
            encoded: output of :meth:`encode`.
            beams: beam width; None for the model's ``beams``, 1 for greedy decoding.
        """
        beams = self.beams if beams is None else beams
        search = {"length_penalty": self.length_penalty, "early_stopping": True} if beams > 1 else {}
        was_training = self.training
        self.transformer.eval()
        tokens = self.transformer.generate(
            **_encoder_arguments(encoded), num_beams=beams, do_sample=False, max_new_tokens=self.max_tokens, **search
        )
        self.transformer.train(was_training)
        return [_up_to_end(row, self.tokenizer.end) for row in tokens[:, 1:].tolist()]

    def project_audio(self, embedding: Tensor) -> Tensor:
        """Project embeddings ``(batch, dim)`` to the audio-text space, ``(batch, projection)``."""
        return self.audio_projection(embedding)

    def project_text(self, batch: Batch) -> Tensor:
        """Project the intents of a batch to the audio-text space, ``(batch, projection)``."""
        tokens = [self.tokenizer.intent_id(label) for label in batch["label"].tolist()]
        embedding = self.transformer.get_input_embeddings()
        return self.text_projection(embedding(torch.tensor(tokens, device=self.gain.device)))

    def get_extra_state(self) -> Tensor:
        """Return the fingerprint of the tokenizer, which checkpoints store with the weights."""
        return torch.tensor(list(bytes.fromhex(self.tokenizer.fingerprint)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Check that the weights were trained with this tokenizer.

        Raises:
            CheckpointError: they were trained with another tokenizer.
        """
        name = bytes(state.tolist()).hex()
        if name != self.tokenizer.fingerprint:
            raise CheckpointError(
                f"weights of tokenizer {name[:8]} do not fit the model's tokenizer {self.tokenizer.fingerprint[:8]}: "
                "load the tokenizer.json of the same run"
            )

    def _one_hot(self, frames: Sequence[Frame]) -> Tensor:
        intents = self.tokenizer.intents
        place = {intent: label for label, intent in enumerate(intents)}
        found = torch.tensor([place.get(frame.intent, len(intents)) for frame in frames], device=self.gain.device)
        scores = torch.full((len(frames), len(intents) + 1), float("-inf"), device=self.gain.device)
        return scores.scatter(1, found[:, None], 0.0)


def _encoder_arguments(encoded: Encoded) -> dict[str, BaseModelOutput | Tensor]:
    """Return the arguments of transformers' models for encoded audio."""
    mask = length_mask(encoded.lengths, encoded.sequence.shape[1]).long()
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=encoded.sequence), "attention_mask": mask}


def _up_to_end(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens

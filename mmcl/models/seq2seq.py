"""SLUSeq2Seq: an audio encoder and a transformer decoder that writes what an utterance means and says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import PegasusConfig
from transformers.modeling_outputs import BaseModelOutput

from mmcl.batch import Batch, length_mask
from mmcl.config.whole_numbers import whole_numbers
from mmcl.encoders.base import Encoded, Encoder, pool
from mmcl.encoders.standardize import standardization
from mmcl.errors import CheckpointError, ConfigError, LabelError
from mmcl.models.beam_search import BeamSearchDecoder
from mmcl.models.frame import Frame
from mmcl.models.tokenizer import FrameTokenizer

_MOST_BEAMS = 1000
_LONGEST = 3000  # steps that have a position: a minute of speech at 50 a second


class TeacherForced(NamedTuple):
    """What training makes of a batch: ``logits`` ``(batch, steps, tokens)`` of each next token, the ``targets``
    ``(batch, steps)`` that they should be, -100 after the end, the ``encoded`` audio, and its mean, the ``embedding``
    ``(batch, dim)``."""

    logits: Tensor
    targets: Tensor
    encoded: Encoded
    embedding: Tensor


class Understood(NamedTuple):
    """What evaluation makes of a batch: the decoded ``frames``; as ``logits`` ``(batch, intents + 1)`` 0 for the intent
    of the frame, the last column for none, and minus infinity elsewhere; the ``embedding`` ``(batch, dim)``."""

    logits: Tensor
    embedding: Tensor
    frames: list[Frame]


class SLUSeq2Seq(nn.Module):
    """Write ``intent SEP [type FILL value SEP ...] transcript`` of speech.

    The encoder's steps pass a linear layer and ``encoder_layers`` transformer layers; a transformer decoder with
    sinusoidal positions and layer normalisation first attends to them. Both are transformers' Pegasus, whose generation
    gives the beam search; padding is masked everywhere. The system of Cappellazzo et al., arXiv 2305.13899 and
    2310.02699: 6 layers, 768, 8 heads, an encoder that is trained. Differs from the paper: the linear layer and a layer
    normalisation between encoder and decoder, which together with ``encoder_layers`` are what is trained on the audio's
    side where the encoder is frozen and its features are cached.

    For COCONUT the model has an audio-text space: the mean of the encoded steps, and the decoder's embedding of the
    intent's token, each through one linear projection.

    In training, ``model(batch)`` is :class:`TeacherForced`; in evaluation mode it decodes and is :class:`Understood`.

    Args:
        encoder: of the batch's ``audio``, or of its cached ``features``.
        tokenizer: of the intents and the words of the training data.
        dim, layers, heads, feedforward: of the decoder.
        encoder_layers: transformer layers on top of the encoder.
        summary: put mean and maximum of the encoder's steps before the others, as a step of their own: a decoder that
            is trained from little data finds the intent there long before it has learnt where to look.
        dropout: in all transformer layers.
        tied: one matrix for the tokens that go in and those that come out.
        projection: dimension of the audio-text space.
        entities: write them; without, the target is ``intent SEP transcript``.
        beams: width of the search in evaluation; 1 is greedy.
        length_penalty: sequences are compared by log-probability / tokens^length_penalty. Differs from the published
            code, which divides each step by ((5 + tokens) / 6)^0.6.
        max_tokens: longest sequence that is decoded.

    Raises:
        ConfigError: sizes that do not go together.
        LabelError: a label without an intent of the tokenizer.

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
        dim: int = 768,
        layers: int = 6,
        heads: int = 8,
        feedforward: int = 3072,
        encoder_layers: int = 0,
        summary: bool = False,
        dropout: float = 0.1,
        tied: bool = False,
        projection: int = 512,
        entities: bool = True,
        beams: int = 1,
        length_penalty: float = 0.6,
        max_tokens: int = 130,
    ) -> None:
        super().__init__()
        sizes = dim, layers, heads, feedforward, encoder_layers + 1, projection, beams, max_tokens
        if min(sizes) < 1 or dim % heads or dim % 2:
            raise ConfigError(
                f"a model with dim={dim}, layers={layers}, heads={heads}, feedforward={feedforward}, encoder_layers="
                f"{encoder_layers}, projection={projection}, beams={beams}, max_tokens="
                f"{max_tokens} cannot be built: expected 0 or more encoder_layers, 1 or more of all else, an even dim "
                "and heads that divide it"
            )
        if beams > _MOST_BEAMS or max_tokens > _LONGEST or not 0 <= dropout < 1 or not isfinite(length_penalty):
            raise ConfigError(
                f"a model with beams={beams}, max_tokens={max_tokens}, dropout={dropout}, length_penalty="
                f"{length_penalty} cannot be built: expected at most {_MOST_BEAMS} beams and {_LONGEST} tokens, a "
                "dropout from 0 to below 1, and a penalty that is finite"
            )
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.entities = entities
        self.beams, self.length_penalty, self.max_tokens = beams, length_penalty, max_tokens
        self.register_buffer("gain", torch.ones(encoder.dim))
        self.register_buffer("offset", torch.zeros(encoder.dim))
        self.input = nn.Linear(encoder.dim, dim)
        self.summary = nn.Linear(2 * encoder.dim, dim) if summary else None
        config = PegasusConfig(
            vocab_size=len(tokenizer),
            d_model=dim,
            encoder_layers=encoder_layers,
            decoder_layers=layers,
            encoder_attention_heads=heads,
            decoder_attention_heads=heads,
            encoder_ffn_dim=feedforward,
            decoder_ffn_dim=feedforward,
            dropout=dropout,
            scale_embedding=True,
            tie_word_embeddings=tied,
            max_position_embeddings=max(_LONGEST, max_tokens + 1),
            pad_token_id=tokenizer.pad,
            bos_token_id=tokenizer.start,
            eos_token_id=tokenizer.end,
            decoder_start_token_id=tokenizer.start,
            forced_eos_token_id=None,
        )
        self.transformer = BeamSearchDecoder(config)
        self.audio_projection = nn.Linear(dim, projection)
        self.text_projection = nn.Linear(dim, projection)

    def grow(self, labels: Iterable[int]) -> None:
        """Check that every label has an intent: the vocabulary is fixed and nothing has to grow."""
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
        """Scale the encoder's steps to mean 0 and deviation 1 from now on, as they are in ``steps``, ``(steps, dim)``.

        Give those of the first experience: later ones are not known yet. A feature that does not vary keeps its scale,
        see :func:`~mmcl.encoders.standardize.standardization`.

        Raises:
            ShapeError, InputError: steps of another size, none, or not finite.
        """
        scaling = standardization(steps, len(self.gain))
        self.gain, self.offset = scaling.gain.to(self.gain), scaling.offset.to(self.gain)

    def encode(self, batch: Batch) -> Encoded:
        """Return what the decoder attends to, ``(batch, steps, dim)``, its lengths, and its mean ``(batch, dim)``."""
        if "features" in batch:
            encoded = self.encoder.from_features(batch["features"], batch["features_lengths"])
        else:
            modality = self.encoder.modality
            encoded = self.encoder(batch[modality], batch.get(f"{modality}_lengths"))
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
        """Return the frames of a batch's ``label``, ``entities`` and ``text``."""
        entities = batch.get("entities") if self.entities else None
        rows = zip(batch["label"].tolist(), entities or [()] * batch.size, batch["text"], strict=True)
        return [self.tokenizer.frame(*row) for row in rows]

    def targets(self, sequences: Sequence[Sequence[int]]) -> Tensor:
        """Pad sequences of tokens with -100, which no loss counts, ``(batch, steps)``."""
        rows = [torch.tensor(sequence) for sequence in sequences]
        return pad_sequence(rows, batch_first=True, padding_value=-100).to(self.gain.device)

    def teacher_forced(self, encoded: Encoded, targets: Tensor) -> Tensor:
        """Return the logits of each token after those before it, ``(batch, steps, tokens)``."""
        inputs = pad(targets[:, :-1], (1, 0), value=self.tokenizer.start)
        return self.transformer(
            **_attended(encoded),
            decoder_input_ids=inputs.masked_fill(inputs == -100, self.tokenizer.pad),
            use_cache=False,
        ).logits

    def forward(self, batch: Batch) -> TeacherForced | Understood:
        encoded = self.encode(batch)
        if not self.training:
            frames = [self.tokenizer.decode(sequence) for sequence in self.decode(encoded)]
            return Understood(self._one_hot(frames), encoded.pooled, frames)
        targets = self.targets([self.tokenizer.encode(frame, sample=True) for frame in self.frames(batch)])
        return TeacherForced(self.teacher_forced(encoded, targets), targets, encoded, encoded.pooled)

    @torch.no_grad()
    def decode(self, encoded: Encoded, *, beams: int | None = None) -> list[list[int]]:
        """Return the most likely sequence of tokens for each utterance, as beam search finds it; its end included.

        Args:
            encoded: of :meth:`encode`.
            beams: width of the search; None for the model's own, 1 is greedy.
        """
        beams = self.beams if beams is None else beams
        search: dict[str, Any] = {"length_penalty": self.length_penalty, "early_stopping": True} if beams > 1 else {}
        was_training = self.training
        self.transformer.eval()
        tokens = self.transformer.generate(
            **_attended(encoded), num_beams=beams, do_sample=False, max_new_tokens=self.max_tokens, **search
        )
        self.transformer.train(was_training)
        return [_until(row, self.tokenizer.end) for row in tokens[:, 1:].tolist()]

    def project_audio(self, embedding: Tensor) -> Tensor:
        """Embeddings ``(batch, dim)`` in the audio-text space, ``(batch, projection)``."""
        return self.audio_projection(embedding)

    def project_text(self, batch: Batch) -> Tensor:
        """The intents of a batch in the audio-text space, ``(batch, projection)``."""
        tokens = [self.tokenizer.intent_id(label) for label in batch["label"].tolist()]
        embedding = self.transformer.get_input_embeddings()
        return self.text_projection(embedding(torch.tensor(tokens, device=self.gain.device)))

    def get_extra_state(self) -> Tensor:
        """The tokenizer's name, which a checkpoint keeps with the weights."""
        return torch.tensor(list(bytes.fromhex(self.tokenizer.fingerprint)), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuse weights that were trained with another tokenizer."""
        name = bytes(state.tolist()).hex()
        if name != self.tokenizer.fingerprint:
            raise CheckpointError(
                f"the weights were trained with tokenizer {name[:8]}, the model has {self.tokenizer.fingerprint[:8]}: "
                "load the tokenizer.json of the same run"
            )

    def _one_hot(self, frames: Sequence[Frame]) -> Tensor:
        intents = self.tokenizer.intents
        place = {intent: label for label, intent in enumerate(intents)}
        found = torch.tensor([place.get(frame.intent, len(intents)) for frame in frames], device=self.gain.device)
        scores = torch.full((len(frames), len(intents) + 1), float("-inf"), device=self.gain.device)
        return scores.scatter(1, found[:, None], 0.0)


def _attended(encoded: Encoded) -> dict[str, Any]:
    """What transformers' models call it."""
    mask = length_mask(encoded.lengths, encoded.sequence.shape[1]).long()
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=encoded.sequence), "attention_mask": mask}


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end) + 1] if end in tokens else tokens

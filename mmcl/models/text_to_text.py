"""TextToText: an encoder-decoder such as T5 with its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.arguments import takes_tensors
from mmcl.batch import Batch
from mmcl.config.numbers import Count, Probability
from mmcl.errors import ConfigError, DataError, ShapeError

_IGNORED = -100  # label of padding, the convention of transformers
_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"


class TextToTextOutput(NamedTuple):
    """Output of a teacher-forced text-to-text model.

    Attributes:
        losses: mean cross-entropy over the tokens of each target, ``(batch,)``.
        logits: ``(batch, tokens, vocabulary)``.
        mask: True for target tokens and False for padding, ``(batch, tokens)``.
    """

    losses: Tensor
    logits: Tensor
    mask: Tensor


class TextToText(nn.Module):
    """A network that generates text from text.

    Args:
        model: encoder-decoder of transformers, such as ``T5ForConditionalGeneration``.
        tokenizer: tokenizer of the model.
        longest: largest number of tokens of a source or target. Longer texts are truncated and counted in
            ``truncated``.

    Raises:
        ConfigError: ``longest`` is below 1, or the tokenizer lacks a padding or end token.

    >>> student = TextToText.from_scratch(["one and one is two"] * 3, vocabulary=60, dim=16, layers=1, heads=2)
    >>> batch = student.batch(["one and one", "two"], ["is two", "two"])
    >>> student(batch).losses.shape
    torch.Size([2])
    """

    def __init__(self, model: Any, tokenizer: Any, *, longest: int = 512) -> None:
        super().__init__()
        if longest < 1:
            raise ConfigError(f"longest is {longest}, expected 1 or more tokens")
        if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
            raise ConfigError("the tokenizer has no padding token or no end token: choose the tokenizer of a T5")
        self.model, self.tokenizer, self.longest = model, tokenizer, longest
        self.truncated = 0

    @classmethod
    def pretrained(cls, name: str | Path, *, download: bool = False, longest: int = 512) -> TextToText:
        """Load a model such as ``google/t5-v1_1-base`` from a folder or the hub.

        Raises:
            MissingDataError, DataError, ConfigError: as :func:`~mmcl.encoders.pretrained.pretrained_audio`.
        """
        from mmcl.encoders.pretrained import pretrained_text_to_text

        return cls(*pretrained_text_to_text(name, download=download), longest=longest)

    @classmethod
    def from_scratch(
        cls,
        texts: Iterable[str],
        *,
        vocabulary: Count = 8000,
        dim: Count = 256,
        layers: Count = 4,
        heads: Count = 4,
        dropout: Probability = 0.1,
        longest: Count = 512,
    ) -> TextToText:
        """Create an untrained T5, and train byte-pair encoding on ``texts``.

        Args:
            texts: sources and targets of the training data.
            vocabulary: largest number of tokens, including the ASCII characters.
            dim: width; the feed-forward layers are four times as wide.
            layers: layers of the encoder and of the decoder.
            heads: attention heads of the encoder and of the decoder.
            dropout: dropout rate of the encoder and of the decoder.
            longest: largest number of tokens of a source or target.

        Raises:
            ConfigError: invalid sizes.
        """
        if min(vocabulary, dim, layers, heads) < 1 or dim % heads or not 0 <= dropout < 1:
            raise ConfigError(
                f"vocabulary={vocabulary}, dim={dim}, layers={layers}, heads={heads}, dropout={dropout}: expected "
                "sizes of 1 or more, dim divisible by heads, and a dropout of 0 or more and less than 1"
            )
        from transformers import T5Config, T5ForConditionalGeneration

        tokenizer = _subwords(texts, vocabulary)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=dim,
            d_kv=dim // heads,
            d_ff=4 * dim,
            num_layers=layers,
            num_heads=heads,
            dropout_rate=dropout,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
        return cls(T5ForConditionalGeneration(config), tokenizer, longest=longest)

    def batch(
        self, sources: Sequence[str], targets: Sequence[str] | None = None, rows: Sequence[int] | None = None
    ) -> Batch:
        """Return the padded token ids of texts: ``source``, ``source_mask`` and ``target``, each ``(batch, tokens)``.

        Args:
            sources: texts to read.
            targets: texts to generate; padding has the label -100. None for no entry ``target``.
            rows: index of the source of each target, so that several targets share one encoded source. None for one
                target per source.

        Raises:
            ShapeError: no source, different numbers of sources and targets, or an index without a source.
        """
        expected = len(sources if rows is None else rows)
        if not sources or (targets is not None and len(targets) != expected):
            raise ShapeError(
                f"got {expected} sources and {len(targets or sources)} targets, expected equal numbers of 1 or more"
            )
        ids, mask = self._tokens(sources)
        batch = Batch(source=ids, source_mask=mask)
        if rows is not None:
            if rows and not 0 <= min(rows) <= max(rows) < len(sources):
                raise ShapeError(
                    f"rows are between {min(rows)} and {max(rows)}, expected indices of {len(sources)} sources"
                )
            batch["rows"] = torch.tensor(rows)
        if targets is not None:
            ids, mask = self._tokens(targets)
            batch["target"] = ids.masked_fill(~mask, _IGNORED)
        return batch

    def _tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = self.tokenizer(list(texts))["input_ids"]
        self.truncated += sum(len(row) > self.longest for row in rows)
        end = self.tokenizer.eos_token_id
        rows = [row if len(row) <= self.longest else [*row[: self.longest - 1], end] for row in rows]
        lengths = torch.tensor([len(row) for row in rows])
        ids = nn.utils.rnn.pad_sequence(
            [torch.tensor(row, dtype=torch.long) for row in rows],
            batch_first=True,
            padding_value=self.tokenizer.pad_token_id,
        )
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    @takes_tensors
    def forward(self, batch: Batch) -> TextToTextOutput:
        states, mask = self.embed(batch), batch["source_mask"]
        if "rows" in batch:
            states, mask = states[batch["rows"]], mask[batch["rows"]]
        logits = self.model(encoder_outputs=(states,), attention_mask=mask, labels=batch["target"]).logits.float()
        mask = batch["target"] != _IGNORED
        losses = cross_entropy(logits.transpose(1, 2), batch["target"], ignore_index=_IGNORED, reduction="none")
        return TextToTextOutput(losses.sum(1) / mask.sum(1).clamp(min=1), logits, mask)

    def embed(self, batch: Batch) -> Tensor:
        """Return the encoder states of ``source``, ``(batch, tokens, dim)``."""
        return self.model.encoder(input_ids=batch["source"], attention_mask=batch["source_mask"]).last_hidden_state

    @torch.no_grad()
    def write(
        self,
        sources: Sequence[str],
        *,
        temperature: float | None = None,
        longest: int = 64,
        batch_size: int = 64,
        device: str | torch.device = "cpu",
    ) -> list[str]:
        """Generate texts, greedily or by sampling at a temperature.

        Sources of similar length share a batch. Sampling draws from torch's generator.

        Args:
            sources: texts to read.
            temperature: sampling temperature greater than 0; None for greedy decoding.
            longest: largest number of generated tokens.
            batch_size: texts per batch.
            device: device of the model.

        Raises:
            ConfigError: invalid temperature or size.
        """
        if (temperature is not None and temperature <= 0) or longest < 1 or batch_size < 1:
            raise ConfigError(
                f"temperature={temperature}, longest={longest}, batch_size={batch_size}: expected values above 0"
            )
        was_training = self.training
        self.eval()
        written = [""] * len(sources)
        order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
        sampling = {} if temperature is None else {"temperature": float(temperature), "top_k": 0}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self.batch([sources[row] for row in rows]).to(device)
            tokens = self.model.generate(
                input_ids=batch["source"],
                attention_mask=batch["source_mask"],
                max_new_tokens=longest,
                do_sample=temperature is not None,
                num_beams=1,
                **sampling,
            )
            texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                written[row] = text.strip()
        self.train(was_training)
        return written

    def save(self, folder: str | Path) -> None:
        """Write the model and the tokenizer in the layout of transformers, readable by :meth:`pretrained`.

        ``config.json`` also holds digests of all files, which :meth:`pretrained` checks.

        Raises:
            DataError: a file cannot be written.
        """
        from mmcl.encoders.pretrained import quiet
        from mmcl.models.saved import seal

        try:
            with quiet():
                self.model.save_pretrained(folder, safe_serialization=True)
                self.tokenizer.save_pretrained(folder)
            seal(Path(folder))
        except OSError as error:
            raise DataError(f"cannot write the model to {folder} ({error.strerror}): choose another folder") from None


def _subwords(texts: Iterable[str], size: int) -> Any:
    """Train a byte-pair tokenizer of transformers on ``texts``; each digit is one token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation()]
    )
    tokenizer.decoder = decoders.Metaspace()
    special = [_PAD, _END, _UNKNOWN]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=[chr(code) for code in range(33, 127)],  # keeps digits that no text contains
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, special.index(_END))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        eos_token=_END,
        unk_token=_UNKNOWN,
        clean_up_tokenization_spaces=False,
    )

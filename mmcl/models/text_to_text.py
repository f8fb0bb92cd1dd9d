"""TextToText: a model of T5's kind, which reads a text and writes another, and its tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from mmcl.batch import Batch
from mmcl.errors import ConfigError, DataError, ShapeError

_IGNORED = -100  # the label of a place that is padded, as transformers has it
_PAD, _END, _UNKNOWN = "<pad>", "</s>", "<unk>"


class Written(NamedTuple):
    """What a model makes of texts that it is to write.

    ``losses`` ``(batch,)``, the mean cross-entropy over the tokens of each; ``logits`` ``(batch, tokens, vocabulary)``
    and ``mask`` ``(batch, tokens)``, which of these tokens are there.
    """

    losses: Tensor
    logits: Tensor
    mask: Tensor


class TextToText(nn.Module):
    """A network that reads a text and writes another.

    Args:
        model: of transformers, with ``encoder`` and ``generate``, such as ``T5ForConditionalGeneration``.
        tokenizer: of the same kind.
        longest: tokens of a text that are read or learnt to be written; what is beyond is cut, and counted in
            ``truncated``.

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
            raise ConfigError("the tokenizer has no token for padding or for the end of a text: choose that of a T5")
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
        vocabulary: int = 8000,
        dim: int = 256,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
        longest: int = 512,
    ) -> TextToText:
        """Make an untrained T5, and learn subwords (byte-pair encoding) from ``texts``.

        Args:
            texts: that it will read and write.
            vocabulary: most tokens that there are, the characters of ASCII among them.
            dim: width; the feed-forward layers are four times as wide.
            layers, heads: of the encoder, and of the decoder.
            dropout: of both.
            longest: see above.

        Raises:
            ConfigError: sizes that cannot be.
        """
        if min(vocabulary, dim, layers, heads) < 1 or dim % heads or not 0 <= dropout < 1:
            raise ConfigError(
                f"vocabulary={vocabulary}, dim={dim}, layers={layers}, heads={heads}, dropout={dropout}: expected "
                "sizes of 1 or more, heads that divide dim, and a dropout of 0 or more and below 1"
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
        """Return the tokens of texts, padded, ``(batch, tokens)``, and which of them are there: of ``source`` and, of
        what is to be written, ``target``.

        Args:
            sources: texts to read.
            targets: texts to write.
            rows: which source each target is written for, so that one is read once for several; None for a target
                each.

        Raises:
            ShapeError: there is no text, or not as many of both, or a row that no source has.
        """
        if not sources or (targets is not None and len(targets) != len(sources if rows is None else rows)):
            raise ShapeError(
                f"there are {len(sources if rows is None else rows)} texts to read and {len(targets or sources)} to "
                "write, expected as many"
            )
        ids, mask = self._tokens(sources)
        batch = Batch(source=ids, source_mask=mask)
        if rows is not None:
            if rows and not 0 <= min(rows) <= max(rows) < len(sources):
                raise ShapeError(f"rows are {min(rows)} to {max(rows)}, expected those of {len(sources)} texts to read")
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

    def forward(self, batch: Batch) -> Written:
        states, mask = self.embed(batch), batch["source_mask"]
        if "rows" in batch:
            states, mask = states[batch["rows"]], mask[batch["rows"]]
        logits = self.model(encoder_outputs=(states,), attention_mask=mask, labels=batch["target"]).logits.float()
        mask = batch["target"] != _IGNORED
        losses = cross_entropy(logits.transpose(1, 2), batch["target"], ignore_index=_IGNORED, reduction="none")
        return Written(losses.sum(1) / mask.sum(1).clamp(min=1), logits, mask)

    def embed(self, batch: Batch) -> Tensor:
        """Return what the encoder makes of the source, ``(batch, tokens, dim)``."""
        states: Tensor = self.model.encoder(
            input_ids=batch["source"], attention_mask=batch["source_mask"]
        ).last_hidden_state
        return states

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
        """Return what the model writes, the likeliest token at each step, or drawn at random at a temperature.

        Texts of nearly the same length are written together; what is drawn follows torch's generator.

        Args:
            sources: texts to read.
            temperature: None for the likeliest tokens; else greater than 0.
            longest: tokens that are written at most.
            batch_size: texts at a time.
            device: where the model is.

        Raises:
            ConfigError: a temperature or size that cannot be.
        """
        if (temperature is not None and temperature <= 0) or longest < 1 or batch_size < 1:
            raise ConfigError(
                f"temperature={temperature}, longest={longest}, batch_size={batch_size}: expected more than 0 of each"
            )
        was_training = self.training
        self.eval()
        written = [""] * len(sources)
        order = sorted(range(len(sources)), key=lambda row: len(sources[row]))
        drawn = {} if temperature is None else {"temperature": float(temperature), "top_k": 0}
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = self.batch([sources[row] for row in rows]).to(device)
            tokens = self.model.generate(
                input_ids=batch["source"],
                attention_mask=batch["source_mask"],
                max_new_tokens=longest,
                do_sample=temperature is not None,
                num_beams=1,
                **drawn,
            )
            texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
            for row, text in zip(rows, texts, strict=True):
                written[row] = text.strip()
        self.train(was_training)
        return written

    def save(self, folder: str | Path) -> None:
        """Write network and tokenizer in the layout of transformers, which :meth:`pretrained` reads, and into
        ``config.json`` digests of all files, which it checks."""
        from mmcl.encoders.pretrained import quiet
        from mmcl.models.files import seal

        try:
            with quiet():
                self.model.save_pretrained(folder, safe_serialization=True)
                self.tokenizer.save_pretrained(folder)
            seal(Path(folder))
        except OSError as error:
            raise DataError(f"cannot write the model to {folder} ({error.strerror}): choose another place") from None


def _subwords(texts: Iterable[str], size: int) -> Any:
    """A tokenizer of transformers with subwords of ``texts``; each digit is a token of its own."""
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
        initial_alphabet=[chr(code) for code in range(33, 127)],  # a digit that no text has is still one later
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

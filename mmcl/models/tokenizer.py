"""FrameTokenizer: frames in, tokens out, and back; BPE whose dropout follows the seed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from mmcl.data.base import Entity
from mmcl.encoders.gate import wrap_errors
from mmcl.errors import CheckpointError, ConfigError, DataError, LabelError, MMCLError
from mmcl.files.atomic import written_whole
from mmcl.files.sealed_json import read_sealed, sealed
from mmcl.models.frame import Frame, Intent, Mark, Piece, parse

PAD, UNKNOWN, START, END = "<pad>", "<unknown>", "<start>", "<end>"
_SPECIAL = (PAD, UNKNOWN, START, END, Mark.SEP.value, Mark.FILL.value)
# Marks a token that begins a word, so that words can be put together again. (The library's mark for a token that ends
# one has it number the tokens in the order of a hash map, another in each run.)
_WORD = "▁"


class FrameTokenizer:
    """Turn frames into tokens and tokens into frames.

    Text is lower-cased, its punctuation but the apostrophe becomes space, and its words are split into subwords by
    byte-pair encoding (Sennrich et al. 2016). Every intent and separator is one token of its own, so that the intent is
    decoded in one step and has one embedding. In training, merges are left out at random (BPE-dropout, Provilkov et al.
    2020, algorithm 1), so that a word is seen in several spellings.

    The dropout of the ``tokenizers`` library draws from a generator that cannot be seeded. This one draws from
    Python's, which :func:`~mmcl.seeding.seed_everything` seeds and a checkpoint keeps.

    Args:
        tokenizer: of the library, with the special tokens; see :meth:`train`.
        intents: names of the classes, by label.
        dropout: share of merges left out in training.
    """

    def __init__(self, tokenizer: Tokenizer, intents: Sequence[str], *, dropout: float = 0.1) -> None:
        if not 0 <= dropout < 1:
            raise ConfigError(f"BPE dropout is {dropout}, expected 0 or more and less than 1")
        self.intents = tuple(intents)
        self.dropout = dropout
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a mark or an intent that is spelt out in a text is text
        self.pad, self.start, self.end = (self._id(token) for token in (PAD, START, END))
        self._mark_ids = {mark: self._id(mark.value) for mark in Mark}
        self._intent_ids = {intent: self._id(_intent_token(intent)) for intent in self.intents}
        self._special: dict[int, Piece] = {id: Intent(intent) for intent, id in self._intent_ids.items()}
        self._special |= {id: mark for mark, id in self._mark_ids.items()}
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
        self._id_of, self._unknown = tokenizer.get_vocab(), self._id(UNKNOWN)
        self._words = lru_cache(maxsize=65_536)(self._split_words)

    @classmethod
    def train(
        cls, frames: Iterable[Frame], intents: Sequence[str], *, vocabulary: int = 1000, dropout: float = 0.1
    ) -> FrameTokenizer:
        """Learn the subwords of the texts of ``frames``.

        Args:
            frames: of the training data, of all experiences: the vocabulary is fixed before the first, as published.
            intents: names of the classes, by label.
            vocabulary: tokens in all, special ones and characters included; fewer if the texts have no more.
            dropout: share of merges left out in training.

        Raises:
            ConfigError: the vocabulary has no room for the intents and the characters of the texts.

        >>> frames = [Frame("lights on", (), "turn on the lights"), Frame("lights off", (), "lights off")]
        >>> tokenizer = FrameTokenizer.train(frames, ["lights off", "lights on"], vocabulary=60)
        >>> tokenizer.decode(tokenizer.encode(frames[0])) == frames[0]
        True
        """
        pieces = [piece for frame in frames for piece in frame.pieces()]
        texts = [piece for piece in pieces if not isinstance(piece, (Mark, Intent))]
        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
        # Joiners belong to the words of Persian, Malayalam and others; between pictures they are no words.
        space = normalizers.Replace(Regex("(?:[^\\w'\u200c\u200d]|(?<!\\w)[\u200c\u200d])+"), " ")
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), space, normalizers.Strip()]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_WORD)
        tokenizer.decoder = decoders.Metaspace(_WORD)
        special = [*_SPECIAL, *map(_intent_token, intents)]
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        if tokenizer.get_vocab_size() > vocabulary:
            raise ConfigError(
                f"vocabulary is {vocabulary}, expected at least {tokenizer.get_vocab_size()}: {len(special)} special "
                "tokens and the characters of the texts"
            )
        return cls(tokenizer, intents, dropout=dropout)

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    @property
    def fingerprint(self) -> str:
        """Name the vocabulary and its merges: equal names mean equal tokens."""
        return blake2b(self._tokenizer.to_str().encode(), digest_size=16).hexdigest()

    def normalized(self, text: str) -> str:
        """Return a text as the tokenizer sees it: what a decoded text is compared with.

        >>> FrameTokenizer.train([Frame("a", (), "yes")], ["a"]).normalized("Yes, it's 5 o'clock.")
        "yes it's 5 o'clock"
        """
        return self._tokenizer.normalizer.normalize_str(text)

    def frame(self, label: int, entities: Sequence[Entity], text: str) -> Frame:
        """Return the frame of a sample, its texts normalised; a decoder that is right writes just this.

        Raises:
            LabelError: there is no such class.
        """
        if not 0 <= label < len(self.intents):
            raise LabelError(
                f"label is {label}, but the tokenizer was trained for {len(self.intents)} intents: expected 0 to "
                f"{len(self.intents) - 1}, from the data set that it was trained on"
            )
        normal = (Entity(self.normalized(kind), self.normalized(value)) for kind, value in entities)
        return Frame(self.intents[label], tuple(normal), self.normalized(text))

    def encode(self, frame: Frame, *, sample: bool = False) -> list[int]:
        """Return the tokens of a frame and an end token; ``sample`` leaves merges out at random.

        Raises:
            LabelError: the intent is not one of the tokenizer's.
        """
        ids: list[int] = []
        for piece in frame.pieces():
            if isinstance(piece, Mark):
                ids.append(self._mark_ids[piece])
            elif isinstance(piece, Intent):
                if piece not in self._intent_ids:
                    raise LabelError(
                        f"intent '{piece}' has no token, expected one of the {len(self.intents)} that the tokenizer "
                        "was trained for"
                    )
                ids.append(self._intent_ids[piece])
            elif sample and self.dropout:
                for word in self._words(piece):
                    ids += self._subwords(word)
            else:
                ids += self._tokenizer.encode(piece, add_special_tokens=False).ids
        return [*ids, self.end]

    def decode(self, ids: Sequence[int]) -> Frame:
        """Return the frame of tokens, up to the end token if there is one; see :func:`~mmcl.models.frame.parse`."""
        pieces: list[Piece] = []
        text: list[int] = []
        for id in [*ids, self.end]:
            if id in self._special or id == self.end:
                if text:
                    pieces.append(self._tokenizer.decode(text, skip_special_tokens=False))
                    text = []
                if id == self.end:
                    break
                pieces.append(self._special[id])
            elif id not in (self.pad, self.start):
                text.append(id)
        return parse(pieces)

    def intent_id(self, label: int) -> int:
        """Return the token of a class."""
        return self._intent_ids[self.intents[label]]

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON, whole or not at all.

        Raises:
            DataError: the file cannot be written.
        """
        content = {"intents": self.intents, "dropout": self.dropout, "tokenizer": json.loads(self._tokenizer.to_str())}
        try:
            with written_whole(path) as temporary:
                temporary.write_text(sealed(content), encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot write the tokenizer {path} ({error.strerror}): make room, then resume") from None

    @classmethod
    def load(cls, path: str | Path) -> FrameTokenizer:
        """Read what :meth:`save` wrote.

        Raises:
            CheckpointError: the file is missing or damaged.
        """
        try:
            content = read_sealed(path, error=CheckpointError)
            intents, dropout = content["intents"], content["dropout"]
            if not isinstance(intents, list) or not all(isinstance(intent, str) for intent in intents):
                raise TypeError(f"intents is {intents!r:.60}, expected a list of names")
            if not isinstance(dropout, float | int) or isinstance(dropout, bool):
                raise TypeError(f"dropout is {dropout!r:.60}, expected a number")
            with wrap_errors(path, error=CheckpointError):
                return cls(Tokenizer.from_str(json.dumps(content["tokenizer"])), intents, dropout=dropout)
        except (MMCLError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"the tokenizer {path} cannot be read ({reason}): put the file of this run back, or start the run again"
            ) from None

    def _id(self, token: str) -> int:
        id = self._tokenizer.token_to_id(token)
        if id is None:
            raise ConfigError(f"the tokenizer has no token '{token}': make it with FrameTokenizer.train")
        return int(id)

    def _split_words(self, text: str) -> tuple[str, ...]:
        return tuple(self.normalized(text).split())

    def _subwords(self, word: str) -> list[int]:
        """The tokens of one word, each merge that could be made left out with probability ``dropout`` at each step."""
        parts = [_WORD, *word]
        ranks, dropout, draw = self._ranks, self.dropout, random.random
        while len(parts) > 1:
            possible = [
                (rank, place)
                for place, pair in enumerate(zip(parts, parts[1:], strict=False))
                if (rank := ranks.get(pair)) is not None and draw() >= dropout
            ]
            if not possible:
                break
            _, place = min(possible)
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return [self._id_of.get(part, self._unknown) for part in parts]


def _intent_token(intent: str) -> str:
    token = f"<{intent}>"
    return token if token not in _SPECIAL else f"<{token}>"

"""FrameTokenizer: byte-pair encoding of frames, with reproducible BPE-dropout."""

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
from mmcl.models.frame import Frame, Intent, Marker, Piece, parse_frame

PAD, UNKNOWN, START, END = "<pad>", "<unknown>", "<start>", "<end>"
_SPECIAL = (PAD, UNKNOWN, START, END, Marker.SEP.value, Marker.FILL.value)
# Prefix of tokens that begin a word, so that decoding can restore the spaces. (The library's suffix for tokens that end
# a word numbers the tokens in hash map order, which differs between runs.)
_WORD = "▁"


class FrameTokenizer:
    """Encode frames as tokens and decode tokens to frames.

    Text is lower-cased, punctuation except the apostrophe becomes space, and words are split into subwords by byte-pair
    encoding (Sennrich et al. 2016). Each intent and each separator is one token. A decoder thus generates the intent in
    one step, and the intent has one embedding. In training, merges are dropped at random (BPE-dropout, Provilkov et al.
    2020, algorithm 1), which varies the segmentation of a word.

    The dropout of the ``tokenizers`` library uses a generator that cannot be seeded. This class uses Python's
    generator, which :func:`~mmcl.seeding.seed_everything` seeds and checkpoints store.

    Args:
        tokenizer: tokenizer of the library with the special tokens, see :meth:`train`.
        intents: class names by label.
        dropout: probability of dropping a merge in training.

    Raises:
        ConfigError: the dropout is outside [0, 1), or a special token is missing.
    """

    def __init__(self, tokenizer: Tokenizer, intents: Sequence[str], *, dropout: float = 0.1) -> None:
        if not 0 <= dropout < 1:
            raise ConfigError(f"BPE dropout is {dropout}, expected 0 or more and less than 1")
        self.intents = tuple(intents)
        self.dropout = dropout
        self._tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # a text that spells out a special token stays text
        self.pad, self.start, self.end = (self._id(token) for token in (PAD, START, END))
        self._marker_ids = {marker: self._id(marker.value) for marker in Marker}
        self._intent_ids = {intent: self._id(_intent_token(intent)) for intent in self.intents}
        self._special: dict[int, Piece] = {id: Intent(intent) for intent, id in self._intent_ids.items()}
        self._special |= {id: marker for marker, id in self._marker_ids.items()}
        merges = json.loads(tokenizer.to_str())["model"]["merges"]
        self._ranks = {tuple(pair): rank for rank, pair in enumerate(merges)}
        self._id_of, self._unknown = tokenizer.get_vocab(), self._id(UNKNOWN)
        self._words = lru_cache(maxsize=65_536)(self._split_words)

    @classmethod
    def train(
        cls, frames: Iterable[Frame], intents: Sequence[str], *, vocabulary: int = 1000, dropout: float = 0.1
    ) -> FrameTokenizer:
        """Train the subwords on the texts of frames.

        Args:
            frames: training data of all experiences. As in the publication, the vocabulary is fixed before the first.
            intents: class names by label.
            vocabulary: largest number of tokens, including special tokens and characters.
            dropout: probability of dropping a merge in training.

        Raises:
            ConfigError: the vocabulary is too small for the intents and the characters of the texts.

        >>> frames = [Frame("lights on", (), "turn on the lights"), Frame("lights off", (), "lights off")]
        >>> tokenizer = FrameTokenizer.train(frames, ["lights off", "lights on"], vocabulary=60)
        >>> tokenizer.decode(tokenizer.encode(frames[0])) == frames[0]
        True
        """
        pieces = [piece for frame in frames for piece in frame.pieces()]
        texts = [piece for piece in pieces if not isinstance(piece, (Marker, Intent))]
        tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
        # Zero-width joiners are letters in Persian, Malayalam and others, but not between emoji.
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
        """Digest of the vocabulary and its merges; equal digests mean equal tokens."""
        return blake2b(self._tokenizer.to_str().encode(), digest_size=16).hexdigest()

    def normalized(self, text: str) -> str:
        """Return the normalized form of a text, the reference for decoded texts.

        >>> FrameTokenizer.train([Frame("a", (), "yes")], ["a"]).normalized("Yes, it's 5 o'clock.")
        "yes it's 5 o'clock"
        """
        return self._tokenizer.normalizer.normalize_str(text)

    def frame(self, label: int, entities: Sequence[Entity], text: str) -> Frame:
        """Return the frame of a sample with normalized texts, the reference for decoded frames.

        Args:
            label: class of the sample.
            entities: entities in spoken order.
            text: transcript.

        Raises:
            LabelError: the label has no intent.
        """
        if not 0 <= label < len(self.intents):
            raise LabelError(
                f"label {label} has no intent in the tokenizer: expected 0 to {len(self.intents) - 1}, from the data "
                "set that it was trained on"
            )
        normalized = (Entity(self.normalized(kind), self.normalized(value)) for kind, value in entities)
        return Frame(self.intents[label], tuple(normalized), self.normalized(text))

    def encode(self, frame: Frame, *, sample: bool = False) -> list[int]:
        """Return the token ids of a frame, with an end token.

        Args:
            frame: frame to encode.
            sample: apply BPE-dropout.

        Raises:
            LabelError: the intent has no token.
        """
        ids: list[int] = []
        for piece in frame.pieces():
            if isinstance(piece, Marker):
                ids.append(self._marker_ids[piece])
            elif isinstance(piece, Intent):
                if piece not in self._intent_ids:
                    raise LabelError(
                        f"intent '{piece}' has no token, expected one of the tokenizer's {len(self.intents)} intents"
                    )
                ids.append(self._intent_ids[piece])
            elif sample and self.dropout:
                for word in self._words(piece):
                    ids += self._subwords(word)
            else:
                ids += self._tokenizer.encode(piece, add_special_tokens=False).ids
        return [*ids, self.end]

    def decode(self, ids: Sequence[int]) -> Frame:
        """Return the frame of token ids up to the end token, see :func:`~mmcl.models.frame.parse_frame`."""
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
        return parse_frame(pieces)

    def intent_id(self, label: int) -> int:
        """Return the token id of a class."""
        return self._intent_ids[self.intents[label]]

    def marker_id(self, marker: Marker) -> int:
        """Return the token id of a separator."""
        return self._marker_ids[marker]

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as JSON, atomically.

        Raises:
            DataError: the file cannot be written.
        """
        content = {"intents": self.intents, "dropout": self.dropout, "tokenizer": json.loads(self._tokenizer.to_str())}
        try:
            with written_whole(path) as temporary:
                temporary.write_text(sealed(content), encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot write the tokenizer {path} ({error.strerror}): free space, then resume") from None

    @classmethod
    def load(cls, path: str | Path) -> FrameTokenizer:
        """Read a tokenizer that :meth:`save` wrote.

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
                f"cannot read the tokenizer {path} ({reason}): restore the file of this run, or start a new run"
            ) from None

    def _id(self, token: str) -> int:
        id = self._tokenizer.token_to_id(token)
        if id is None:
            raise ConfigError(f"the tokenizer has no token '{token}': create it with FrameTokenizer.train")
        return int(id)

    def _split_words(self, text: str) -> tuple[str, ...]:
        return tuple(self.normalized(text).split())

    def _subwords(self, word: str) -> list[int]:
        """Return the token ids of a word; at each step, each possible merge is dropped with probability ``dropout``."""
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

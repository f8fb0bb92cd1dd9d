"""Frame: what an utterance means and says, and the sequence of pieces that a decoder writes it as."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias

from mmcl.data.base import Entity


class Mark(Enum):
    """What parts the pieces of a target sequence."""

    SEP = "<sep>"
    FILL = "<fill>"


class Intent(str):
    """The name of an intent, as a piece of a target sequence: one token, whatever its words."""


Piece: TypeAlias = Mark | Intent | str


class Frame(NamedTuple):
    """The semantic frame of an utterance: its intent, its entities in the order of speech, and its transcript.

    The intent is empty where a decoder wrote none.
    """

    intent: str
    entities: tuple[Entity, ...] = ()
    transcript: str = ""

    def pieces(self) -> Iterator[Piece]:
        """Write the frame as a target sequence: ``intent SEP [type FILL value SEP ...] transcript``.

        The format of Cappellazzo et al., arXiv 2305.13899, with all entities in order.

        >>> frame = Frame("email sendemail", (Entity("person", "charlotte"),), "reply to charlotte")
        >>> [getattr(piece, "value", piece) for piece in frame.pieces()]
        ['email sendemail', '<sep>', 'person', '<fill>', 'charlotte', '<sep>', 'reply to charlotte']
        """
        yield Intent(self.intent)
        for entity in self.entities:
            yield from (Mark.SEP, entity.type, Mark.FILL, entity.value)
        yield from (Mark.SEP, self.transcript)

    def text(self) -> str:
        """Return all of it as words, marks left out: what an error rate of the whole sequence counts.

        >>> Frame("alarm set", (Entity("time", "five"),), "wake me at five").text()
        'alarm set time five wake me at five'
        """
        words = [piece for piece in self.pieces() if not isinstance(piece, Mark)]
        return " ".join(word for piece in words for word in piece.split())


def parse(pieces: Sequence[Piece]) -> Frame:
    """Read back what a decoder wrote, however it broke the format.

    The first intent counts. Of the parts between separators the last is the transcript, if it has no fill mark and is
    not the only one; every other part with a type, a fill mark and a value is an entity, and what remains is dropped.

    >>> parse([Intent("alarm set"), Mark.SEP, "time", Mark.FILL, "five am", Mark.SEP, "wake me at five am"])
    Frame(intent='alarm set', entities=(Entity(type='time', value='five am'),), transcript='wake me at five am')
    >>> parse(["wake", Mark.SEP, Mark.FILL, Mark.SEP, "time", Mark.FILL])
    Frame(intent='', entities=(), transcript='')
    """
    parts: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece is Mark.SEP:
            parts.append([])
        else:
            parts[-1].append(piece)
    intent = next((str(piece) for piece in pieces if isinstance(piece, Intent)), "")
    *middle, last = parts if len(parts) > 1 else [*parts, []]
    if Mark.FILL in last:
        middle, last = [*middle, last], []
    entities = []
    for part in middle:
        if part.count(Mark.FILL) == 1:
            place = part.index(Mark.FILL)
            kind, value = _words(part[:place]), _words(part[place + 1 :])
            if kind and value:
                entities.append(Entity(kind, value))
    return Frame(intent, tuple(entities), _words(last))


def _words(part: Sequence[Piece]) -> str:
    texts = [piece for piece in part if not isinstance(piece, (Mark, Intent))]
    return " ".join(word for text in texts for word in text.split())

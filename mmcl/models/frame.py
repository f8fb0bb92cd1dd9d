"""Frame: the semantic frame of an utterance, and its target sequence for a decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import NamedTuple, TypeAlias, get_type_hints

from mmcl.data.base import Entity


class Marker(Enum):
    """Separator tokens of a target sequence."""

    SEP = "<sep>"
    FILL = "<fill>"


class Intent(str):
    """Name of an intent within a target sequence; always encoded as one token."""


Piece: TypeAlias = Marker | Intent | str


class Frame(NamedTuple):
    """The semantic frame of an utterance.

    Attributes:
        intent: name of the intent, empty if a decoder generated none.
        entities: entities in spoken order.
        transcript: transcript.
    """

    intent: str
    entities: tuple[Entity, ...] = ()
    transcript: str = ""

    def pieces(self) -> Iterator[Piece]:
        """Yield the target sequence: ``intent SEP [type FILL value SEP ...] transcript``.

        The format of Cappellazzo et al., arXiv 2305.13899, with all entities in order.

        >>> frame = Frame("email sendemail", (Entity("person", "charlotte"),), "reply to charlotte")
        >>> [getattr(piece, "value", piece) for piece in frame.pieces()]
        ['email sendemail', '<sep>', 'person', '<fill>', 'charlotte', '<sep>', 'reply to charlotte']
        """
        yield Intent(self.intent)
        for entity in self.entities:
            yield from (Marker.SEP, entity.type, Marker.FILL, entity.value)
        yield from (Marker.SEP, self.transcript)

    def text(self) -> str:
        """Return the frame as words without markers, the text of sequence-level error rates.

        >>> Frame("alarm set", (Entity("time", "five"),), "wake me at five").text()
        'alarm set time five wake me at five'
        """
        words = [piece for piece in self.pieces() if not isinstance(piece, Marker)]
        return " ".join(word for piece in words for word in piece.split())


Frame.__annotations__.update(get_type_hints(Frame))  # documentation tools cannot resolve the names


def parse_frame(pieces: Sequence[Piece]) -> Frame:
    """Parse a decoded target sequence, which may be malformed.

    The first intent counts. The last segment is the transcript if it has no FILL marker and is not the only one. Every
    other segment with a type, exactly one FILL marker and a value is an entity. The rest is dropped.

    >>> parse_frame([Intent("alarm set"), Marker.SEP, "time", Marker.FILL, "five am", Marker.SEP, "wake me at five am"])
    Frame(intent='alarm set', entities=(Entity(type='time', value='five am'),), transcript='wake me at five am')
    >>> parse_frame(["wake", Marker.SEP, Marker.FILL, Marker.SEP, "time", Marker.FILL])
    Frame(intent='', entities=(), transcript='')
    """
    segments: list[list[Piece]] = [[]]
    for piece in pieces:
        if piece is Marker.SEP:
            segments.append([])
        else:
            segments[-1].append(piece)
    intent = next((str(piece) for piece in pieces if isinstance(piece, Intent)), "")
    *middle, last = segments if len(segments) > 1 else [*segments, []]
    if Marker.FILL in last:
        middle, last = [*middle, last], []
    entities = []
    for segment in middle:
        if segment.count(Marker.FILL) == 1:
            position = segment.index(Marker.FILL)
            kind, value = _words(segment[:position]), _words(segment[position + 1 :])
            if kind and value:
                entities.append(Entity(kind, value))
    return Frame(intent, tuple(entities), _words(last))


def _words(segment: Sequence[Piece]) -> str:
    texts = [piece for piece in segment if not isinstance(piece, (Marker, Intent))]
    return " ".join(word for text in texts for word in text.split())

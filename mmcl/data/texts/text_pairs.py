"""Pairs of texts to train a text encoder on, and the views of a batch of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from mmcl.data.base import Source
from mmcl.data.texts.plain_texts import PlainTexts
from mmcl.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from mmcl.batch import Batch, Sample

TextPairsT = TypeVar("TextPairsT", bound="TextPairs")
#: start of the names in a batch that belong to each view: query, passage and negative
VIEWS = ("", "passage_", "negative_")


class TextPairs:
    """Pairs of texts, such as query and passage, with an optional negative and an optional score.

    A sample has ``text`` (the first text), ``passage_text`` and, in triples, ``negative_text``; see :func:`view_of`.

    Args:
        first: first text of each pair.
        second: second text of each pair.
        negatives: a text that does not match the first one, for each pair; None without negatives.
        scores: similarity of each pair; None for pairs that all match.
        sources: name of the source of each pair, for domains of a stream; None for one source.

    Attributes:
        first, second, negatives, scores, sources: as passed.
        targets: the scores, under the name that objectives take.
        skipped: number of pairs that were left out because their score is missing.

    Raises:
        DataError: there are no pairs, lengths differ, a text is empty, or a score is not finite.

    >>> pairs = TextPairs(["turn it on", "play"], ["switch on", "start music"], scores=[4.5, 3.0])
    >>> pairs[0]["passage_text"], pairs.at_least(4).first
    ('switch on', ['turn it on'])
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source | None] = None
    modalities: ClassVar[Mapping[str, str]] = {"text": "text"}
    classes: Sequence[str] = ("pair",)
    skipped: int = 0

    def __init__(
        self,
        first: Sequence[str],
        second: Sequence[str],
        negatives: Sequence[str] | None = None,
        scores: Sequence[float] | None = None,
        sources: Sequence[str] | None = None,
    ) -> None:
        self.first, self.second = list(first), list(second)
        self.negatives = None if negatives is None else list(negatives)
        self.scores = None if scores is None else list(scores)
        self.sources = None if sources is None else list(sources)
        if not self.first:
            raise DataError("there are 0 text pairs, expected at least 1: check the split of the data set")
        for name, values in self._columns().items():
            if len(values) != len(self.first):
                raise DataError(f"there are {len(self.first)} first texts and {len(values)} {name}, expected as many")
        for name in ("first", "second", "negatives"):
            for row, text in enumerate(getattr(self, name) or ()):
                if not text.strip():
                    raise DataError(f"pair {row} has an empty text in {name}, expected words: fill it in or remove it")
        for row, score in enumerate(self.scores or ()):
            if not isfinite(score):
                raise DataError(f"pair {row} has score {score}, expected a finite number: correct or remove it")

    def _columns(self) -> dict[str, list[Any]]:
        named = {name: getattr(self, name) for name in ("first", "second", "negatives", "scores", "sources")}
        return {name: values for name, values in named.items() if values is not None}

    @property
    def texts(self) -> Sequence[str]:
        """First text of each pair."""
        return self.first

    @property
    def labels(self) -> Sequence[int]:
        """Zeros, because pairs have no class."""
        return [0] * len(self.first)

    @property
    def targets(self) -> Sequence[float] | None:
        """Score of each pair; None without scores."""
        return self.scores

    @property
    def arrays(self) -> Sequence[Sequence[str] | Sequence[float]]:
        """Everything besides the first texts that identifies a pair."""
        return [values for name, values in self._columns().items() if name != "first"]

    @property
    def views(self) -> int:
        """Number of texts of a sample: 2, or 3 with negatives."""
        return 2 if self.negatives is None else 3

    def columns(self) -> list[list[str]]:
        """Return the texts by view: the first, the second and, in triples, the negatives."""
        return [self.first, self.second, *([] if self.negatives is None else [self.negatives])]

    def plain_texts(self) -> PlainTexts:
        """Return the distinct texts, without pairs, for unsupervised training."""
        return PlainTexts(list(dict.fromkeys(text for column in self.columns() for text in column)))

    def with_views(self: TextPairsT, views: int) -> TextPairsT:
        """Return the pairs without negatives for 2 views, and with them for 3.

        Raises:
            DataError: there are no negatives.
        """
        if views > self.views:
            raise DataError(f"views is {views}, but the pairs have no negatives: set views=2, or add a column negative")
        chosen = copy(self)
        chosen.negatives = self.negatives if views > 2 else None
        return chosen

    def select(self: TextPairsT, rows: Sequence[int]) -> TextPairsT:
        """Return some of the pairs.

        Raises:
            DataError: no row is selected.
        """
        if not rows:
            raise DataError("0 text pairs are selected, expected at least 1: lower the smallest score")
        chosen = copy(self)
        for name, values in self._columns().items():
            setattr(chosen, name, [values[row] for row in rows])
        return chosen

    def at_least(self: TextPairsT, score: float) -> TextPairsT:
        """Return the pairs with a score of at least ``score``; all of them if there are no scores."""
        if self.scores is None:
            return self
        return self.select([row for row, own in enumerate(self.scores) if own >= score])

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        texts = {f"{view}text": column[index] for view, column in zip(VIEWS, self.columns(), strict=False)}
        score = {} if self.scores is None else {"target": self.scores[index]}
        return cast("Sample", {"id": str(index), "label": 0, **texts, **score})


def view_of(number: int) -> Callable[[Batch], Batch]:
    """Return the function from a batch of pairs to a view of it: 0 for queries, 1 for passages, 2 for negatives.

    With it as ``augment``, :class:`~mmcl.training.contrastive.ContrastiveTrainer` trains one tower on pairs.

    >>> from mmcl.batch import collate
    >>> batch = collate([TextPairs(["play"], ["start music"])[0]])
    >>> view_of(1)(batch)["text"]
    ['start music']
    """
    start = VIEWS[number]

    def view(batch: Batch) -> Batch:
        return type(batch)({key.removeprefix(start): value for key, value in batch.items() if key.startswith(start)})

    return view if number else lambda batch: batch


def source_file(source: Source, path: Path) -> Path:
    """Return the path of a file of a data set.

    Raises:
        MissingDataError: it does not exist.
    """
    if not path.is_file():
        raise MissingDataError(f"there is no file {path}: {source.offer()}")
    return path

"""Questions with text answers and rationales written by large language models (Distilling step-by-step)."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from mmcl.data.base import Source, checked_root
from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_json import read_json, read_json_lines
from mmcl.metrics.answers import exact_match
from mmcl.text.suggest import nearest
from mmcl.text.words import composed

_VALID = 0.1  # fraction of the training data for validation, if the owner has no validation split


class Rationale(NamedTuple):
    """An explanation of an answer: its ``text``, the ``answer`` it arrives at (None if unreadable), and the
    ``teacher`` that wrote it."""

    text: str
    answer: str | None
    teacher: str


class Exercise(NamedTuple):
    """A ``question`` as models read it, its ``label``, its ``choices`` (if any), and its ``rationales``."""

    id: str
    question: str
    label: str
    choices: tuple[str, ...]
    rationales: tuple[Rationale, ...]


class Exercises(ABC):
    """Base class of exercises in the layout of Distilling step-by-step (Hsieh et al., arXiv 2305.02301).

    The completions of a teacher are JSON lists of raw texts, ``<teacher>/<split>_CoT_<number>.json``, in the order of
    the exercises. Long lists continue in files with higher numbers. A subclass reads the exercises in ``_read`` and
    splits a completion into explanation and answer in ``parse``.

    Args:
        root: folder of the data set.
        split: ``"train"``, ``"valid"`` or ``"test"``. If the owner has no validation split, a tenth of the training
            exercises, drawn by ``numpy.random.RandomState(0)``, is used.
        teachers: teachers whose completions are read; None reads all that have completions of this split.
        size: keep at most the first ``size`` exercises; None keeps all.
        completions: another folder with teachers' folders; None uses those of the data set only.

    Attributes:
        exercises: exercises with their rationales.
        part: part of the owner's data that the split comes from; ``"train"`` if validation data is drawn from it.
        rows: position of each exercise in that part.
        total: number of exercises in that part.
        unparsed: number of completions without a readable answer, by teacher.
        outside: number of answers that are not among the choices, by teacher; these are treated as unreadable.

    Raises:
        MissingDataError: the folder or a file does not exist.
        DataError: the split or a teacher is unknown, a file is malformed, or lists differ in length.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source | None] = None
    texts_apart: ClassVar[bool] = True  #: questions of one split should not occur in another
    superclasses: Sequence[str] = ()  #: superclass of each choice
    own_valid: ClassVar[bool] = False  # True if the owner has a validation split
    instruction: ClassVar[str]  #: prompt that makes a language model write parsable completions

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        teachers: Sequence[str] | None = None,
        size: int | None = None,
        completions: str | Path | None = None,
    ) -> None:
        self.root, self.split = checked_root(type(self), root, split), split
        self._roots = [self.root] if completions is None else [self.root, Path(completions).expanduser()]
        part = "train" if split == "valid" and not self.own_valid else split
        known = self._teachers(part)
        names = known if teachers is None else ([teachers] if isinstance(teachers, str) else list(teachers))
        for name in names:
            if name not in known:
                found = ", ".join(known) or "none"
                places = " and ".join(map(str, self._roots))
                raise DataError(f"{places} has no completions of '{name}'{nearest(name, known)} for {part}: {found}")
        read = self._read(part)
        said = {name: self._completions(name, part, len(read)) for name in names}
        rows = list(range(len(read)))
        if part == "train" and not self.own_valid:
            order = np.random.RandomState(0).permutation(len(read)).tolist()
            valid = set(order[: round(_VALID * len(read))])
            rows = [row for row in rows if (row in valid) == (split == "valid")]
        self.part, self.rows, self.total = part, rows[:size], len(read)
        self.unparsed, self.outside = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        self.exercises = [
            Exercise(*read[row], tuple(self._rationale(said[name][row], name, read[row][3]) for name in names))
            for row in self.rows
        ]
        if not self.exercises:
            raise DataError(f"{self.root} has 0 exercises in split '{split}' with size={size}, expected at least 1")

    @abstractmethod
    def _read(self, part: str) -> list[tuple[str, str, str, tuple[str, ...]]]:
        """Return id, question, label and choices of each exercise of a part."""

    @classmethod
    @abstractmethod
    def parse(cls, completion: str) -> tuple[str, str | None]:
        """Return the explanation and the answer of a completion; the answer is None if it is not readable."""

    def prompt(self, question: str) -> str:
        """Return the prompt that asks a language model for an answer with an explanation."""
        return f"{self.instruction}\n\nQ: {question}\nA:"

    @classmethod
    def same(cls, answer: str) -> str | float:
        """Return a key that is equal for answers with the same meaning."""
        return answer

    @classmethod
    def match(cls, answers: Sequence[str], labels: Sequence[str]) -> list[bool]:
        """Return for each answer whether it is correct."""
        return exact_match(answers, labels)

    def __len__(self) -> int:
        return len(self.exercises)

    def __getitem__(self, index: int) -> Exercise:
        return self.exercises[index]

    def _rationale(self, completion: str, teacher: str, choices: tuple[str, ...]) -> Rationale:
        text, answer = self.parse(completion)
        if not completion:  # a part whose completions are not all written yet
            return Rationale("", None, teacher)
        if answer is None:
            self.unparsed[teacher] += 1
        elif choices and answer not in choices:
            self.outside[teacher] += 1
            answer = None
        return Rationale(text, answer, teacher)

    def _teachers(self, part: str) -> list[str]:
        for root in self._roots:
            if not root.is_dir():
                raise MissingDataError(f"there is no folder {root}, expected one with completions of teachers")
        files = [path for root in self._roots for path in sorted(root.glob(f"*/{part}_CoT_0.json"))]
        names = [path.parent.name for path in files]
        if twice := sorted(name for name in set(names) if names.count(name) > 1):
            raise DataError(
                f"'{twice[0]}' has completions in {' and in '.join(map(str, self._roots))}: rename a folder"
            )
        return names

    def _completions(self, teacher: str, part: str, count: int) -> list[str]:
        completions: list[str] = []
        number = 0
        folder = next(root / teacher for root in self._roots if (root / teacher / f"{part}_CoT_0.json").exists())
        while (path := folder / f"{part}_CoT_{number}.json").exists():
            more = read_json(path, list)
            if strange := [place for place, each in enumerate(more, start=1) if not isinstance(each, str)]:
                raise DataError(
                    f"{path} is not a list of texts (entry {strange[0]} is a {type(more[strange[0] - 1]).__name__}), "
                    "expected the completions of a teacher"
                )
            completions += map(composed, more)
            number += 1
        if len(completions) != count:
            raise DataError(
                f"{folder} has {len(completions)} completions for the {count} exercises of {part}, "
                "expected one per exercise: a file is missing, or belongs to other data"
            )
        return completions

    def _lines(self, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the JSON object of each line of a file, and its location for errors."""
        path = self.root / name
        if not path.exists():
            offer = "" if self.source is None else f": {self.source.offer()}"
            raise MissingDataError(f"there is no file {path}{offer}")
        for line, row in read_json_lines(path):
            yield f"{path}, line {line}", row


def field(row: dict[str, Any], name: str, where: str) -> str:
    """Return a field of a JSON object as text; numbers are converted.

    Raises:
        DataError: the field is missing, blank, or neither text nor number.
    """
    if name not in row:
        raise DataError(f"{where} has no '{name}', expected one in each exercise: copy the file again")
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
        shown = f"{value!r:.40}"
        raise DataError(f"{where} has {shown} for '{name}', expected a text: correct it, or copy the file again")
    return composed(str(value))


def first_answer(completion: str, next_question: str, before_answer: str) -> tuple[str, str | None]:
    """Truncate a completion at the next question, which models tend to make up, and split it into explanation and
    answer at the words that introduce the answer.

    >>> first_answer("It is dark. So the answer is night. Q: What else?", "Q:", "So the answer is")
    ('It is dark.', 'night.')
    """
    own = completion.split(next_question)[0].strip()
    before, found, after = own.partition(before_answer)
    return before.strip(), after.strip() if found else None


def label_of(answer: str | None) -> str | None:
    """Return the words of an answer such as ``(b) bank.`` or ``bank.``; None for an answer that names two choices.

    >>> label_of("(b) river bank."), label_of("either (a) pond or (b) lake."), label_of("contradiction.")
    ('river bank', None, 'contradiction')
    """
    if answer is None or answer.startswith("either "):
        return None
    words = re.sub(r"^\([a-z]\)\s*", "", answer).strip()
    return (words[:-1] if words.endswith((".", "。", "।")) else words).strip() or None

"""Have rationales written: a file that grows by a line with each completion, then lists as data sets read them."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from mmcl.data.texts.exercises import Exercises
from mmcl.errors import ConfigError, DataError
from mmcl.files.atomic import written_whole
from mmcl.files.plain_files import check_replaceable
from mmcl.files.plain_json import member, parse_json, read_text
from mmcl.rationales.writers import Writer

_CHARACTERS = 4  # of English that make a token of most language models, about


class Estimate(NamedTuple):
    """What remains to be written: requests, tokens that are read, about, and that are written, at most."""

    requests: int
    read: int
    written: int

    def cost(self, price_read: float, price_written: float) -> float:
        """Return what that costs at most, at prices of a million tokens.

        >>> Estimate(1000, 200_000, 256_000).cost(1.0, 4.0)
        1.224
        """
        return (self.read * price_read + self.written * price_written) / 1e6


class Writing:
    """Completions of a teacher for the exercises of a split, several for each, in a folder.

    Every completion is a line of ``<folder>/<teacher>.<part>.jsonl`` as soon as it is there. What has a line is not
    asked for again, so that whatever ends a run, the same call goes on; a line that is half written is written anew.
    :meth:`export` writes lists in the layout that :class:`~mmcl.data.texts.exercises.Exercises` reads as
    ``completions``, one teacher for each sample: ``<teacher>``, ``<teacher>-2``, and so on.

    Args:
        exercises: to be explained.
        writer: of completions.
        folder: of the files.
        teacher: name.
        samples: completions of each exercise.

    Raises:
        ConfigError: a name or number that cannot be; the file is of another model, of other settings or exercises.
        DataError: the file is damaged, or another process writes it.
    """

    def __init__(
        self, exercises: Exercises, writer: Writer, folder: str | Path, teacher: str, *, samples: int = 1
    ) -> None:
        if samples < 1 or not teacher or teacher != Path(teacher).name or teacher.startswith("."):
            raise ConfigError(f"samples={samples}, teacher='{teacher}': expected 1 or more, and a name without slashes")
        self.exercises, self.writer, self.teacher, self.samples = exercises, writer, teacher, samples
        self.folder = Path(folder).expanduser()
        self.path = self.folder / f"{teacher}.{exercises.part}.jsonl"
        self._prompts = [exercises.prompt(each.question) for each in exercises.exercises]
        prompts = "\n".join([exercises.prompt("?"), type(exercises).__name__, str(exercises.total)])
        digest = hashlib.sha256(prompts.encode()).hexdigest()[:16]
        self._head = {"writer": writer.settings, "prompts": digest}
        self.completions = self._load()

    def missing(self) -> list[tuple[int, int]]:
        """Return what is not written yet, as places in :attr:`exercises` and numbers of samples."""
        rows = self.exercises.rows
        return [
            (place, sample)
            for sample in range(self.samples)
            for place in range(len(rows))
            if (rows[place], sample) not in self.completions
        ]

    def estimate(self) -> Estimate:
        """Say what remains."""
        missing = self.missing()
        read = sum(len(self._prompts[place]) for place, _ in missing) // _CHARACTERS
        return Estimate(len(missing), read, len(missing) * int(self.writer.settings["longest"]))

    def write(self, on_completion: Callable[[int], None] | None = None) -> None:
        """Write what is missing; ``on_completion`` is called with how many completions there are then.

        Raises:
            EndpointError: as the writer does; what was written stays.
            DataError: the disk is full, or another process writes the file.
        """
        missing = self.missing()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in (self.path, Path(f"{self.path}.lock")):
                check_replaceable(path)  # it is appended to, and a link would be followed
            with FileLock(f"{self.path}.lock", timeout=0), self._opened() as file:
                asked = [self._prompts[place] for place, _ in missing]
                for number, text in self.writer.write(asked, len(self.completions)):
                    place, sample = missing[number]
                    row = self.exercises.rows[place]
                    file.write(json.dumps({"row": row, "sample": sample, "text": text}) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                    self.completions[row, sample] = text
                    if on_completion is not None:
                        on_completion(len(self.completions))
        except Timeout:
            raise DataError(f"another process writes {self.path}: wait for it, or choose another folder") from None
        except OSError as error:
            raise _cannot_write(self.path, error) from None

    def export(self) -> list[Path]:
        """Write the lists, whose texts are empty where nothing is written yet, and return their paths.

        Raises:
            DataError: the disk is full.
        """
        paths = []
        for sample in range(1 + max((sample for _, sample in self.completions), default=-1)):
            name = self.teacher if sample == 0 else f"{self.teacher}-{sample + 1}"
            path = self.folder / name / f"{self.exercises.part}_CoT_0.json"
            texts = [self.completions.get((row, sample), "") for row in range(self.exercises.total)]
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with written_whole(path) as temporary:
                    temporary.write_text(json.dumps(texts, indent=0), encoding="utf-8")
            except OSError as error:
                raise _cannot_write(path, error) from None
            paths.append(path)
        return paths

    def _opened(self) -> Any:
        """The file, at its end; with a first line that says what it is, and without a last line that is cut off."""
        content = self.path.read_bytes() if self.path.is_file() else b""
        if b"\n" not in content:
            content = (json.dumps(self._head) + "\n").encode()
            with written_whole(self.path) as temporary:
                temporary.write_bytes(content)
        if not content.endswith(b"\n"):
            os.truncate(self.path, content.rfind(b"\n") + 1)
        return self.path.open("a", encoding="utf-8")

    def _load(self) -> dict[tuple[int, int], str]:
        if not self.path.exists():
            return {}
        lines = read_text(self.path).split("\n")[:-1]  # what has no end is not counted
        head = self._line(lines[0], 1) if lines else self._head
        if head != self._head:
            raise ConfigError(
                f"{self.path} was written with {head}, and now it is {self._head}: expected the same model, settings "
                "and exercises; go on with those, or choose another folder or teacher"
            )
        completions = {}
        for number, line in enumerate(lines[1:], start=2):
            entry, where = self._line(line, number), f"{self.path}, line {number}"
            try:
                row, sample = (member(entry, name, int, where=where) for name in ("row", "sample"))
                completions[row, sample] = member(entry, "text", str, where=where)
            except DataError as error:
                raise DataError(f"{error}; or remove that line, and it is written anew") from None
        return completions

    def _line(self, line: str, number: int) -> Any:
        try:
            return parse_json(line, where=f"{self.path}, line {number}")
        except DataError as error:
            raise DataError(f"{error}; or remove that line, and it is written anew") from None


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {path} ({error.strerror}): make room, then run the same again")

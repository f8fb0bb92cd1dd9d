"""Collection of rationales from a language model, in a resumable file, and export in the layout of data sets."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from filelock import FileLock, Timeout

from mmcl.data.texts.exercises import Exercises
from mmcl.errors import ConfigError, DataError
from mmcl.files.atomic import written_whole
from mmcl.files.plain_files import check_replaceable
from mmcl.files.plain_json import member, parse_json, read_text
from mmcl.rationales.writers import Writer

_CHARACTERS_PER_TOKEN = 4  # rough average of English text in most language models


class Estimate(NamedTuple):
    """Size of the remaining work.

    Attributes:
        requests: number of requests.
        read: approximate number of input tokens.
        written: largest possible number of output tokens.
    """

    requests: int
    read: int
    written: int

    def cost(self, price_read: float, price_written: float) -> float:
        """Return the largest possible cost, for prices per million input and output tokens.

        >>> Estimate(1000, 200_000, 256_000).cost(1.0, 4.0)
        1.224
        """
        return (self.read * price_read + self.written * price_written) / 1e6


class Writing:
    """Completions of a language model for the exercises of a split, stored in a folder.

    Each completion is appended to ``<folder>/<teacher>.<part>.jsonl`` when it arrives. If interrupted, the same call
    resumes: stored completions are not requested again, and an incomplete last line is replaced. :meth:`export` writes
    them in the layout that :class:`~mmcl.data.texts.exercises.Exercises` reads as ``completions``, with one teacher per
    sample: ``<teacher>``, ``<teacher>-2``, and so on.

    Args:
        exercises: exercises to explain.
        writer: language model that writes completions.
        folder: folder of the files.
        teacher: name of the teacher, used in file names.
        samples: number of completions per exercise.

    Attributes:
        completions: text of each completion, by row of the exercise and number of the sample.

    Raises:
        ConfigError: ``teacher`` or ``samples`` is invalid, or the file has completions of another model, with other
            settings or for other exercises.
        DataError: the file is damaged.
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
        """Return the missing completions, as index in :attr:`exercises` and number of the sample."""
        rows = self.exercises.rows
        return [
            (index, sample)
            for sample in range(self.samples)
            for index in range(len(rows))
            if (rows[index], sample) not in self.completions
        ]

    def estimate(self) -> Estimate:
        """Return the size of the missing work."""
        missing = self.missing()
        read = sum(len(self._prompts[index]) for index, _ in missing) // _CHARACTERS_PER_TOKEN
        return Estimate(len(missing), read, len(missing) * int(self.writer.settings["longest"]))

    def write(self, on_completion: Callable[[int], None] | None = None) -> None:
        """Request the missing completions, and store each as it arrives.

        Args:
            on_completion: called after each completion with the number of stored completions.

        Raises:
            EndpointError: the writer failed; stored completions are kept.
            DataError: the disk is full, or another process writes the file.
        """
        missing = self.missing()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in (self.path, Path(f"{self.path}.lock")):
                check_replaceable(path)  # appending would follow a link
            with FileLock(f"{self.path}.lock", timeout=0), self._opened() as file:
                prompts = [self._prompts[index] for index, _ in missing]
                for number, text in self.writer.write(prompts, len(self.completions)):
                    index, sample = missing[number]
                    row = self.exercises.rows[index]
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
        """Write the completion lists and return their paths; missing completions are empty texts.

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

    def _opened(self) -> TextIO:
        """Open the file for appending; write the header line if missing, and remove an incomplete last line."""
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
        lines = read_text(self.path).split("\n")[:-1]  # the last line is incomplete or empty
        head = self._line(lines[0], 1) if lines else self._head
        if head != self._head:
            raise ConfigError(
                f"{self.path} was written with {head}, expected {self._head}: use the same model, settings and "
                "exercises, or choose another folder or teacher"
            )
        completions = {}
        for number, line in enumerate(lines[1:], start=2):
            entry, where = self._line(line, number), f"{self.path}, line {number}"
            try:
                row, sample = (member(entry, name, int, where=where) for name in ("row", "sample"))
                completions[row, sample] = member(entry, "text", str, where=where)
            except DataError as error:
                raise DataError(f"{error}; or remove that line to request the completion again") from None
        return completions

    def _line(self, line: str, number: int) -> Any:
        try:
            return parse_json(line, where=f"{self.path}, line {number}")
        except DataError as error:
            raise DataError(f"{error}; or remove that line to request the completion again") from None


def _cannot_write(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {path} ({error.strerror}): free space, then run the same command again")

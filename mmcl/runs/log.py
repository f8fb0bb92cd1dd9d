"""Rows of metrics in a file, one JSON object a line, appended so that every line in it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple

from mmcl.errors import RunError
from mmcl.files.plain_json import json_text, parse_json


class Mark(NamedTuple):
    """How much of a file of rows there was at some moment: its length in bytes and their digest."""

    length: int
    digest: str | None  #: None where an older mmcl noted the length alone


START = Mark(0, blake2b(digest_size=16).hexdigest())  #: before the first row


class RowFile:
    """A file of rows, each of a ``kind``, which any number of processes may read while one appends.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = RowFile(Path(folder) / "metrics.jsonl")
    ...     rows.open()
    ...     rows.append({"kind": "epoch", "loss": 0.5})
    ...     rows.close()
    ...     rows.read()
    [{'kind': 'epoch', 'loss': 0.5}]
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._digest, self._digested = blake2b(digest_size=16), 0

    def open(self) -> None:
        """Open the file for appending."""
        self._digest, self._digested = blake2b(digest_size=16), 0
        self._file = self.path.open("a+b", buffering=0)

    @property
    def is_open(self) -> bool:
        """Whether rows can be appended."""
        return self._file is not None

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def read(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the rows so far, those of one kind if it is given; a half-written last one is left out.

        Raises:
            RunError: the file is missing, or a line before the last is not a row.
        """
        rows = []
        for number, line in enumerate(self._content().split(b"\n")[:-1], start=1):
            where = f"{self.path} line {number}"
            try:
                row = parse_json(line, where=where, error=RunError)
            except RunError:
                row = {}
            if not isinstance(row.get("kind"), str):
                raise RunError(
                    f"{where} is not a row of metrics ({_shortened(line)}): put the file back from a copy, or resume "
                    "the run if the line was written after its last checkpoint"
                )
            if kind is None or row["kind"] == kind:
                rows.append(row)
        return rows

    def marks(self, lengths: Iterable[int]) -> dict[int, Mark | None]:
        """Return the mark at each of some lengths, None where the file is shorter."""
        content = self._content()
        return {
            length: Mark(length, blake2b(content[:length], digest_size=16).hexdigest())
            if length <= len(content)
            else None
            for length in set(lengths)
        }

    def append(self, row: dict[str, Any]) -> None:
        """Append a row, of which tensors and arrays become lists; it is in the file when this returns.

        Raises:
            RunError: the file is not open, or the disk is full; then nothing of the row is there.
        """
        file = self._opened()
        before = os.fstat(file.fileno()).st_size
        rest = memoryview(f"{json_text(row, default=_as_lists)}\n".encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            file.truncate(before)
            raise RunError(
                f"cannot write {self.path} ({error.strerror}): make room, then `mmcl run --resume {self.path.parent}`"
            ) from None

    def to_disk(self) -> Mark:
        """Have the system write all rows out, and return the mark after the last one."""
        file = self._opened()
        os.fsync(file.fileno())
        file.seek(self._digested)
        new = file.read()
        self._digest.update(new)
        self._digested += len(new)
        return Mark(self._digested, self._digest.hexdigest())

    def check(self, mark: Mark, why: str) -> None:
        """Make sure that the file begins with what it held at a mark.

        Args:
            mark: of an earlier moment.
            why: says in one clause how the mark is known.

        Raises:
            RunError: the file is shorter, or its beginning was changed.
        """
        there = self.marks([mark.length])[mark.length]
        if there is None:
            raise RunError(
                f"{self.path} has {len(self._content())} bytes, but {why} after {mark.length}: put the file back from "
                "a copy, or start the run again"
            )
        if mark.digest is not None and mark != there:
            raise RunError(
                f"{self.path} was changed: its first {mark.length} bytes differ from those that were there when {why}; "
                "put the file back from a copy, or start the run again"
            )

    def cut(self, length: int) -> None:
        """Drop what comes after the first ``length`` bytes."""
        os.truncate(self.path, length)

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise RunError(f"cannot read {self.path} ({error.strerror}): put the file back from a copy") from None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise RunError(f"{self.path.parent} is not open for writing: use Run.create or Run.open")
        return self._file


def _as_lists(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be logged: convert it to numbers and strings")


def _shortened(line: bytes) -> str:
    """A line that an error message can quote."""
    text = line.decode(errors="replace")
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")

"""The file of metrics: one JSON object per line, appended atomically."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, NamedTuple

from mmcl.errors import RunError
from mmcl.files.plain_json import json_text, parse_json


class Mark(NamedTuple):
    """The beginning of a file of rows: its length in bytes and its digest."""

    length: int
    digest: str | None  #: None in files of older versions, which only have the length


START = Mark(0, blake2b(digest_size=16).hexdigest())  #: before the first row


class RowFile:
    """A file of rows that one process appends to while others may read it. Each row has a ``kind``.

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
        """Close the file if it is open."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def read(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return all rows, or those of one kind. An incomplete last row is ignored.

        Raises:
            RunError: The file is missing, or another line is not a row.
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
                    f"{where} is not a row of metrics ({_shortened(line)}): restore the file from a copy, or resume "
                    "the run if the line was written after the last checkpoint"
                )
            if kind is None or row["kind"] == kind:
                rows.append(row)
        return rows

    def marks(self, lengths: Iterable[int]) -> dict[int, Mark | None]:
        """Return the mark at each length, or None if the file is shorter."""
        content = self._content()
        return {
            length: Mark(length, blake2b(content[:length], digest_size=16).hexdigest())
            if length <= len(content)
            else None
            for length in set(lengths)
        }

    def append(self, row: Mapping[str, object]) -> None:
        """Append a row. Tensors and arrays are written as lists.

        Raises:
            RunError: The file is not open, or the disk is full. Nothing of the row is written then.
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
                f"cannot write {self.path} ({error.strerror}): free disk space, then resume with: mmcl run --resume "
                f"{self.path.parent}"
            ) from None

    def to_disk(self) -> Mark:
        """Flush all rows to the disk and return the mark after the last one."""
        file = self._opened()
        os.fsync(file.fileno())
        file.seek(self._digested)
        new = file.read()
        self._digest.update(new)
        self._digested += len(new)
        return Mark(self._digested, self._digest.hexdigest())

    def check(self, mark: Mark, why: str) -> None:
        """Check that the file still begins with the content of a mark.

        Args:
            mark: An earlier mark.
            why: A clause that says when the mark was recorded, for the error message.

        Raises:
            RunError: The file is shorter, or its beginning was changed.
        """
        found = self.marks([mark.length])[mark.length]
        if found is None:
            raise RunError(
                f"{self.path} has {len(self._content())} bytes, but {why} after {mark.length}: restore the file from a "
                "copy, or start a new run"
            )
        if mark.digest is not None and mark != found:
            raise RunError(
                f"{self.path} was changed: its first {mark.length} bytes differ from those when {why}; restore the "
                "file from a copy, or start a new run"
            )

    def truncate(self, length: int) -> None:
        """Keep only the first ``length`` bytes."""
        os.truncate(self.path, length)

    def _content(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise RunError(f"cannot read {self.path} ({error.strerror}): restore the file from a copy") from None

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise RunError(f"{self.path.parent} is not open for writing: use Run.create or Run.open")
        return self._file


def _as_lists(value: object) -> object:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be logged: convert it to numbers and strings")


def _shortened(line: bytes) -> str:
    """Return a short ASCII form of a line for an error message."""
    text = line.decode(errors="replace")
    return ascii(text if len(text) <= 40 else f"{text[:40]}...")

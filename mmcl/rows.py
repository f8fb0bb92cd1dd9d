"""Rows of metrics in a file, one JSON object a line, appended so that every line in it is whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import IO, Any

from mmcl.errors import RunError


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

    def open(self) -> None:
        """Open the file for appending."""
        self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            self._file.close()
        self._file = None

    def read(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the rows so far, those of one kind if it is given; a half-written last one is left out.

        Raises:
            RunError: a line before the last is not a row.
        """
        rows = []
        for number, line in enumerate(self.path.read_bytes().split(b"\n")[:-1], start=1):
            try:
                row = json.loads(line)
                if kind is None or row["kind"] == kind:
                    rows.append(row)
            except (ValueError, KeyError, TypeError):
                raise RunError(f"{self.path}, line {number}: not a row of metrics, remove that line") from None
        return rows

    def append(self, row: dict[str, Any]) -> None:
        """Append a row, of which tensors and arrays become lists; it is in the file when this returns.

        Raises:
            RunError: the file is not open, or the disk is full; then nothing of the row is there.
        """
        file = self._opened()
        before = os.fstat(file.fileno()).st_size
        rest = memoryview(f"{json.dumps(row, default=_as_lists)}\n".encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except OSError as error:
            file.truncate(before)
            raise RunError(
                f"cannot write {self.path} ({error.strerror}): make room, then `mmcl run --resume {self.path.parent}`"
            ) from None

    def to_disk(self) -> int:
        """Have the system write all rows out, and return how many bytes they are."""
        file = self._opened()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size

    def cut(self, length: int) -> None:
        """Drop what comes after the first ``length`` bytes.

        Raises:
            RunError: there are fewer.
        """
        there = self.path.stat().st_size
        if there < length:
            raise RunError(
                f"{self.path} has {there} bytes, but a checkpoint was written after {length}: put the file back as it "
                "was, or start the run again"
            )
        os.truncate(self.path, length)

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise RunError(f"{self.path.parent} is not open for writing: use Run.create or Run.open")
        return self._file


def _as_lists(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} cannot be logged: convert it to numbers and strings")

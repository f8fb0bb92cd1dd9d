"""FeatureStore: a folder of features that runs share, grow and read without loading it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from mmcl.errors import DataError
from mmcl.files.atomic import written_whole
from mmcl.files.plain_files import check_plain

logger = logging.getLogger(__name__)

_FORMAT = 1
_DTYPES = {"float16": torch.float16, "float32": torch.float32, "int32": torch.int32}
ResultT = TypeVar("ResultT")


class Entry(NamedTuple):
    """Where the features of one sample stand: ``rows`` rows of the matrix from ``row`` on, and their checksum."""

    row: int
    rows: int
    checksum: int


class FeatureStore:
    """Features of samples, each under a key, in one folder.

    ``features.bin`` is a matrix ``(rows, dim)`` to which rows are only added; ``index.jsonl`` says which rows are
    whose, a line each, written after them; ``meta.json`` holds ``dim`` and the type. So a writer that is killed leaves
    at most rows that nobody owns and half a line, which the next writer removes. One process writes at a time; reading
    needs no lock. Nothing in the folder is ever executed or unpickled.

    >>> import tempfile
    >>> store = FeatureStore(Path(tempfile.mkdtemp()))
    >>> with store.writing():
    ...     store.append([("a", np.ones((2, 3), np.float32)), ("b", np.zeros((1, 3), np.float32))])
    >>> store.entries(["b", "c"])
    {'b': Entry(row=2, rows=1, checksum=2077607535)}
    >>> store.matrix().shape
    torch.Size([3, 3])
    """

    def __init__(self, folder: str | Path, description: str = "") -> None:
        self.folder = Path(folder)
        self.description = description
        self._bin, self._index = self.folder / "features.bin", self.folder / "index.jsonl"
        self._meta = self.folder / "meta.json"

    def entries(self, keys: Iterable[str]) -> dict[str, Entry]:
        """Return the entries of those ``keys`` that are here and whose features are what was written.

        Raises:
            DataError: the folder holds links, pipes or devices.
        """
        check_plain(self.folder, error=DataError)
        meta = self._read_meta()
        if meta is None or not self._bin.exists():
            return {}
        lines, _ = self._read_index()
        row_bytes = _row_bytes(meta)
        found = {}
        with self._bin.open("rb") as file:
            available = os.fstat(file.fileno()).st_size // row_bytes
            for key in dict.fromkeys(keys):
                entry = lines.get(key)
                if entry is None or entry.row + entry.rows > available:
                    continue
                file.seek(entry.row * row_bytes)
                if crc32(file.read(entry.rows * row_bytes)) == entry.checksum:
                    found[key] = entry
        return found

    def matrix(self) -> Tensor:
        """Map the features into memory, ``(rows, dim)``; only what is read is loaded, and the file is never changed.

        Raises:
            DataError: the folder has no features, or holds links, pipes or devices.
        """
        check_plain(self.folder, error=DataError)
        meta = self._read_meta()
        if meta is None:
            raise DataError(f"the feature cache {self.folder} has no readable meta.json: delete the folder")
        rows = self._bin.stat().st_size // _row_bytes(meta)
        dim: int = meta["dim"]
        return torch.from_file(str(self._bin), shared=False, size=rows * dim, dtype=_DTYPES[meta["dtype"]]).view(
            rows, dim
        )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one process that writes: wait for others, then remove what a killed one left half done.

        Raises:
            DataError: the folder holds links, pipes or devices, or files that another folder shares.
        """
        check_plain(self.folder, error=DataError, shared=False)
        self._attempt(lambda: self.folder.mkdir(parents=True, exist_ok=True))
        lock = FileLock(self.folder / "lock")
        try:
            self._attempt(lambda: lock.acquire(timeout=1))
        except Timeout:
            logger.warning("another run is encoding into %s: waiting for it", self.folder)
            self._attempt(lock.acquire)
        try:
            self._attempt(self._repair)
            yield
        finally:
            lock.release()

    def append(self, items: Iterable[tuple[str, NDArray[Any]]]) -> None:
        """Add the features ``(rows, dim)`` of keys, all of one dim and type; only within :meth:`writing`.

        Raises:
            DataError: they cannot be written, for example to a full disk; what was there stays readable.
        """
        items = list(items)
        meta = self._read_meta()
        if meta is None:
            first = items[0][1]
            meta = {
                "format": _FORMAT,
                "dim": first.shape[1],
                "dtype": str(first.dtype),
                "description": self.description,
            }
            text = json.dumps(meta, indent=1)
            self._attempt(lambda: _replace(self._meta, text))
        for key, features in items:
            if features.ndim != 2 or (features.shape[1], str(features.dtype)) != (meta["dim"], meta["dtype"]):
                raise DataError(
                    f"features of {key} are {features.dtype} of shape {features.shape}, but {self.folder} holds "
                    f"{meta['dtype']} (rows, {meta['dim']}): delete that folder"
                )
        self._attempt(lambda: self._write(items, _row_bytes(meta)))

    def _write(self, items: list[tuple[str, NDArray[Any]]], row_bytes: int) -> None:
        with self._bin.open("ab", buffering=0) as features_file, self._index.open("ab", buffering=0) as index_file:
            sizes = [os.fstat(file.fileno()).st_size for file in (features_file, index_file)]
            row = sizes[0] // row_bytes
            lines = []
            for key, features in items:
                checksum = crc32(np.ascontiguousarray(features).tobytes())
                lines.append(json.dumps({"key": key, "row": row, "rows": len(features), "crc32": checksum}) + "\n")
                row += len(features)
            try:
                _write_all(features_file, b"".join(np.ascontiguousarray(features).tobytes() for _, features in items))
                _write_all(index_file, "".join(lines).encode())
            except OSError:
                for file, size in zip((features_file, index_file), sizes, strict=True):
                    os.ftruncate(file.fileno(), size)
                raise

    def _repair(self) -> None:
        meta = self._read_meta()
        if meta is None:
            # Without it the rest has no meaning. Removed, not emptied: another run may have it mapped.
            for path in (self._index, self._bin, self._meta):
                path.unlink(missing_ok=True)
            return
        lines, is_whole = self._read_index()
        if not self._bin.exists():
            self._index.unlink(missing_ok=True)
            return
        row_bytes, size = _row_bytes(meta), self._bin.stat().st_size
        kept = {key: entry for key, entry in lines.items() if (entry.row + entry.rows) * row_bytes <= size}
        if not is_whole or len(kept) < len(lines):
            logger.warning("%s is damaged: keeping %d entries, the others are encoded again", self.folder, len(kept))
            text = "".join(
                json.dumps({"key": key, "row": entry.row, "rows": entry.rows, "crc32": entry.checksum}) + "\n"
                for key, entry in kept.items()
            )
            _replace(self._index, text)
        covered = max((entry.row + entry.rows for entry in kept.values()), default=0) * row_bytes
        if size > covered:
            os.truncate(self._bin, covered)

    def _read_meta(self) -> dict[str, Any] | None:
        try:
            meta = json.loads(self._meta.read_bytes())
            is_known = meta["format"] == _FORMAT and meta["dtype"] in _DTYPES and int(meta["dim"]) > 0
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        return meta if is_known else None

    def _read_index(self) -> tuple[dict[str, Entry], bool]:
        """The entries of the lines that can be read, the last of each key, and if that is all there is."""
        try:
            content = self._index.read_bytes()
        except FileNotFoundError:
            return {}, True
        entries, is_whole = {}, content.endswith(b"\n") or not content
        for line in content.splitlines():
            try:
                parts = json.loads(line)
                entry = Entry(int(parts["row"]), int(parts["rows"]), int(parts["crc32"]))
                if entry.row < 0 or entry.rows < 1:
                    raise ValueError(line)
                entries[str(parts["key"])] = entry
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                is_whole = False
        return entries, is_whole

    def _attempt(self, action: Callable[[], ResultT]) -> ResultT:
        try:
            return action()
        except Timeout:
            raise
        except OSError as error:
            raise DataError(
                f"cannot write features to {self.folder} ({error.strerror or error}): free space there, or set "
                "MMCL_CACHE to another folder"
            ) from error


def _row_bytes(meta: dict[str, Any]) -> int:
    return int(meta["dim"]) * _DTYPES[meta["dtype"]].itemsize


def _write_all(file: BinaryIO | Any, content: bytes) -> None:
    rest = memoryview(content)
    while rest:  # an unbuffered file may take a part, and say why only the next time
        rest = rest[file.write(rest) :]


def _replace(path: Path, text: str) -> None:
    with written_whole(path) as fresh:
        fresh.write_text(text, encoding="utf-8")

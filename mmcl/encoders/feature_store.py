"""Append-only store of features on disk, shared by concurrent runs and read by memory mapping."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, TypedDict, TypeVar
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


class FeatureSpan(NamedTuple):
    """Location of the features of one sample.

    Attributes:
        row: the first row of the matrix.
        rows: the number of rows.
        checksum: the CRC-32 of these rows.
    """

    row: int
    rows: int
    checksum: int


class _Meta(TypedDict):
    format: int
    dim: int
    dtype: str
    description: str


class _Writer(Protocol):
    def write(self, content: memoryview, /) -> int | None: ...


class FeatureStore:
    """Features of samples, stored by key in one folder.

    ``features.bin`` is a matrix ``(rows, dim)`` that only grows. ``index.jsonl`` has one line per sample with its key
    and rows, written after the rows. ``meta.json`` holds ``dim`` and the data type. A killed writer leaves at most rows
    without an index line and an incomplete line, which the next writer removes. One process writes at a time; reading
    needs no lock. Nothing in the folder is ever executed or unpickled.

    Args:
        folder: folder of the store; created by the first :meth:`writing`.
        description: text for ``meta.json`` that says how the features were computed.

    >>> import tempfile
    >>> store = FeatureStore(Path(tempfile.mkdtemp()))
    >>> with store.writing():
    ...     store.append([("a", np.ones((2, 3), np.float32)), ("b", np.zeros((1, 3), np.float32))])
    >>> store.spans(["b", "c"])
    {'b': FeatureSpan(row=2, rows=1, checksum=2077607535)}
    >>> store.matrix().shape
    torch.Size([3, 3])
    """

    def __init__(self, folder: str | Path, description: str = "") -> None:
        self.folder = Path(folder)
        self.description = description
        self._bin, self._index = self.folder / "features.bin", self.folder / "index.jsonl"
        self._meta = self.folder / "meta.json"

    def spans(self, keys: Iterable[str]) -> dict[str, FeatureSpan]:
        """Return the spans of all ``keys`` that are stored and match their checksum.

        Raises:
            DataError: if the folder holds links, pipes or devices.
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
                span = lines.get(key)
                if span is None or span.row + span.rows > available:
                    continue
                file.seek(span.row * row_bytes)
                if crc32(file.read(span.rows * row_bytes)) == span.checksum:
                    found[key] = span
        return found

    def matrix(self) -> Tensor:
        """Return the memory-mapped features, ``(rows, dim)``; writing to them does not change the file.

        Raises:
            DataError: if the folder has no features, or holds links, pipes or devices.
        """
        check_plain(self.folder, error=DataError)
        meta = self._read_meta()
        if meta is None:
            raise DataError(f"the feature cache {self.folder} has no readable meta.json: delete the folder")
        rows = self._bin.stat().st_size // _row_bytes(meta)
        size = rows * meta["dim"]
        values = torch.from_file(str(self._bin), shared=False, size=size, dtype=_DTYPES[meta["dtype"]])
        return values.view(rows, meta["dim"])

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Acquire the lock for writing, and remove the incomplete output of a killed writer.

        Raises:
            DataError: if the folder cannot be written, or holds links, pipes, devices or hard-linked files.
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

    def append(self, items: Iterable[tuple[str, NDArray[np.generic]]]) -> None:
        """Append features ``(rows, dim)`` by key, within :meth:`writing`.

        All features of a store have the same ``dim`` and data type.

        Raises:
            DataError: if features have another ``dim`` or type, or writing fails, for example on a full disk. The
                features that are stored already stay readable.
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
        row_bytes = _row_bytes(meta)
        self._attempt(lambda: self._write(items, row_bytes))

    def _write(self, items: list[tuple[str, NDArray[np.generic]]], row_bytes: int) -> None:
        with self._bin.open("ab", buffering=0) as features_file, self._index.open("ab", buffering=0) as index_file:
            sizes = [os.fstat(file.fileno()).st_size for file in (features_file, index_file)]
            row = sizes[0] // row_bytes
            lines = []
            for key, features in items:
                checksum = crc32(np.ascontiguousarray(features).tobytes())
                lines.append(_index_line(key, FeatureSpan(row, len(features), checksum)))
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
            # The other files are useless without meta.json. They are removed, not emptied, as a run may map them.
            for path in (self._index, self._bin, self._meta):
                path.unlink(missing_ok=True)
            return
        lines, is_whole = self._read_index()
        if not self._bin.exists():
            self._index.unlink(missing_ok=True)
            return
        row_bytes, size = _row_bytes(meta), self._bin.stat().st_size
        kept = {key: span for key, span in lines.items() if (span.row + span.rows) * row_bytes <= size}
        if not is_whole or len(kept) < len(lines):
            logger.warning("%s is damaged: keeping %d samples, the others are encoded again", self.folder, len(kept))
            _replace(self._index, "".join(_index_line(key, span) for key, span in kept.items()))
        covered = max((span.row + span.rows for span in kept.values()), default=0) * row_bytes
        if size > covered:
            os.truncate(self._bin, covered)

    def _read_meta(self) -> _Meta | None:
        try:
            meta: _Meta = json.loads(self._meta.read_bytes())
            is_known = meta["format"] == _FORMAT and meta["dtype"] in _DTYPES and int(meta["dim"]) > 0
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None
        return meta if is_known else None

    def _read_index(self) -> tuple[dict[str, FeatureSpan], bool]:
        """Return the last valid span of each key, and True if every line is valid."""
        try:
            content = self._index.read_bytes()
        except FileNotFoundError:
            return {}, True
        spans, is_whole = {}, content.endswith(b"\n") or not content
        for line in content.splitlines():
            try:
                fields = json.loads(line)
                span = FeatureSpan(int(fields["row"]), int(fields["rows"]), int(fields["crc32"]))
                if span.row < 0 or span.rows < 1:
                    raise ValueError(line)
                spans[str(fields["key"])] = span
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                is_whole = False
        return spans, is_whole

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


def _row_bytes(meta: _Meta) -> int:
    return int(meta["dim"]) * _DTYPES[meta["dtype"]].itemsize


def _index_line(key: str, span: FeatureSpan) -> str:
    return json.dumps({"key": key, "row": span.row, "rows": span.rows, "crc32": span.checksum}) + "\n"


def _write_all(file: _Writer, content: bytes) -> None:
    rest = memoryview(content)
    while rest:  # an unbuffered file may write only a part, and raise the error in the next call
        rest = rest[file.write(rest) :]


def _replace(path: Path, text: str) -> None:
    with written_whole(path) as fresh:
        fresh.write_text(text, encoding="utf-8")

"""Fingerprints of data sets: a digest per sample, computed without decoding any file.

Runs record the fingerprints of the data sets that they open and refuse to resume on other data. Training states store
digests of the samples that their row numbers refer to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

from mmcl.data.attributes import attributes_of

DatasetT = TypeVar("DatasetT")
Note = Callable[[str, Any], None]

_SIZE = 8  # bytes of a digest
# Attributes that may hold one item per sample. Lists of another length mean something else and are ignored.
_NAMES = {"ids": "", "utterances": "id", "described": "image", "files": "name", "exercises": "id"}
_CONTENTS = ("ids", "texts", "entities", "utterances", "described", "files", "paths", "exercises")
_notes: list[Note] = []


@contextmanager
def noted_by(note: Note) -> Iterator[None]:
    """Call ``note`` with the name and the data set for each data set that is opened in the context."""
    _notes.append(note)
    try:
        yield
    finally:
        _notes.remove(note)


def opened(dataset: DatasetT, name: str, split: str = "", **options: Any) -> DatasetT:
    """Report an opened data set to the functions registered by :func:`noted_by`, and return it.

    Args:
        dataset: the opened data set.
        name: name of the data set, or of its file.
        split: its split, if it has splits.
        options: options that determine its samples.

    >>> class Said:
    ...     labels, texts = [0, 1], ["yes", "no"]
    ...     def __len__(self): return 2
    >>> with noted_by(lambda name, dataset: print(name, len(dataset))):
    ...     _ = opened(Said(), "said", "train", takes=2)
    said train takes=2 2
    """
    given = [f"{key}={value!r}" for key, value in sorted(options.items()) if value is not None]
    for note in list(_notes):
        note(" ".join(part for part in (name, split, *given) if part), dataset)
    return dataset


def sample_names(dataset: Any) -> list[str] | None:
    """Return the ids or files of the samples, or None if the data set has neither."""
    count = len(dataset)
    for part, field in _NAMES.items():
        if (listed := _listed(dataset, part, count)) is not None:
            return [str(getattr(each, field) if field else each) for each in listed]
    return None


def sample_digests(dataset: Any) -> list[bytes]:
    """Return a digest per sample of its id, label, text, numbers, and the name and size of its file."""
    count = len(dataset)
    columns: list[Iterable[bytes]] = [map(_encoded, _named_labels(dataset, count))]
    for part in _CONTENTS:
        if (listed := _listed(dataset, part, count)) is not None:
            columns.append(map(_encoded, listed))
    for each in attributes_of(dataset).arrays:
        if len(each) == count:
            columns.append(map(_encoded, each))
    return [blake2b(b"\0".join(parts), digest_size=_SIZE).digest() for parts in zip(*columns, strict=True)]


def digest_of(digests: Sequence[bytes], rows: Iterable[int] | None = None) -> str:
    """Return one digest for several samples in order, all or some rows; rows out of range count as missing samples.

    >>> digest_of([b"a", b"b"], [0]) == digest_of([b"a"])
    True
    """
    chosen = digests if rows is None else [digests[row] if 0 <= row < len(digests) else b"" for row in rows]
    return blake2b(b"".join(chosen), digest_size=_SIZE).hexdigest()


def _named_labels(dataset: Any, count: int) -> list[Any]:
    """Return the class name and superclass of each sample, which stay the same if classes are added."""
    classes, superclasses = getattr(dataset, "classes", ()), attributes_of(dataset).superclasses
    names = list(zip(classes, superclasses, strict=True)) if len(superclasses) == len(classes) else list(classes)
    labels = _listed(dataset, "labels", count) or [None] * count
    return [names[label] if isinstance(label, int) and 0 <= label < len(names) else label for label in labels]


def _listed(dataset: Any, part: str, count: int) -> Sequence[Any] | None:
    value = getattr(dataset, part, None)
    return value if isinstance(value, Sequence) and len(value) == count else None


def _encoded(value: Any) -> bytes:
    if isinstance(value, Path):
        try:
            size = os.stat(value).st_size
        except OSError:  # the reader of the file reports that it is missing
            size = -1
        return f"{value.name} {size}".encode(errors="surrogateescape")
    if hasattr(value, "numpy"):  # tensors
        return b"%08x" % crc32(value.contiguous().numpy().tobytes())
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.name != "label"]  # labels are covered by class names
        return b"\1".join(_encoded(getattr(value, name)) for name in names)
    if isinstance(value, (list, tuple)):
        return b"\1".join(map(_encoded, value))
    return repr(value).encode(errors="surrogatepass")

"""Fingerprints: what a data set holds, sample by sample, without decoding anything.

A run notes the fingerprints of the data sets that it opens, and is not resumed on other data. States of training keep
digests of the samples that their row numbers mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar
from zlib import crc32

DatasetT = TypeVar("DatasetT")
Note = Callable[[str, Any], None]

_SIZE = 8  # bytes of a digest
# What data sets of mmcl hold for each sample. Lists of other lengths are something else of the same name.
_NAMES = {"ids": "", "_ids": "", "utterances": "id", "described": "image", "files": "name", "exercises": "id"}
_CONTENTS = ("ids", "_ids", "texts", "entities", "utterances", "described", "files", "paths", "exercises")
_NUMBERS = ("_images", "_vectors", "_views")
_notes: list[Note] = []


@contextmanager
def noted_by(note: Note) -> Iterator[None]:
    """Have ``note`` called with the name of each data set that is opened meanwhile, and the data set."""
    _notes.append(note)
    try:
        yield
    finally:
        _notes.remove(note)


def opened(dataset: DatasetT, name: str, split: str = "", **options: Any) -> DatasetT:
    """Tell whoever listens by :func:`noted_by` that a data set was opened, and return it.

    Args:
        dataset: as it was opened.
        name: of the data set, or of the file that it is.
        split: its split, if it has some.
        options: that say which samples it holds.

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
    """Return the names of samples, their ids or files; None where a data set has neither."""
    count = len(dataset)
    for part, field in _NAMES.items():
        if (listed := _listed(dataset, part, count)) is not None:
            return [str(getattr(each, field) if field else each) for each in listed]
    return None


def sample_digests(dataset: Any) -> list[bytes]:
    """Return a digest of each sample: of its id, label, text and numbers, and the name and size of its file."""
    count = len(dataset)
    columns: list[Iterable[bytes]] = [map(_encoded, _named_labels(dataset, count))]
    for part in _CONTENTS:
        if (listed := _listed(dataset, part, count)) is not None:
            columns.append(map(_encoded, listed))
    for part in _NUMBERS:
        value = getattr(dataset, part, None)
        for each in value.values() if isinstance(value, Mapping) else [value]:
            if each is not None and len(each) == count:
                columns.append(map(_encoded, each))
    return [blake2b(b"\0".join(parts), digest_size=_SIZE).digest() for parts in zip(*columns, strict=True)]


def digest_of(digests: Sequence[bytes], rows: Iterable[int] | None = None) -> str:
    """Return one digest of several samples in their order, all of them or some rows; a row too many counts as none.

    >>> digest_of([b"a", b"b"], [0]) == digest_of([b"a"])
    True
    """
    chosen = digests if rows is None else [digests[row] if 0 <= row < len(digests) else b"" for row in rows]
    return blake2b(b"".join(chosen), digest_size=_SIZE).hexdigest()


def _named_labels(dataset: Any, count: int) -> list[Any]:
    """The class of each sample by its name, which no further class moves, and of what it is a part."""
    classes, superclasses = getattr(dataset, "classes", ()), getattr(dataset, "superclasses", ())
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
        except OSError:  # whoever opens it says that it is missing
            size = -1
        return f"{value.name} {size}".encode(errors="surrogateescape")
    if hasattr(value, "numpy"):  # a tensor
        return b"%08x" % crc32(value.contiguous().numpy().tobytes())
    if is_dataclass(value):
        names = [field.name for field in fields(value) if field.name != "label"]  # a number, which says little
        return b"\1".join(_encoded(getattr(value, name)) for name in names)
    if isinstance(value, (list, tuple)):
        return b"\1".join(map(_encoded, value))
    return repr(value).encode(errors="surrogatepass")

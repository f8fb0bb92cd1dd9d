"""Overlap between splits of a data set: shared and repeated samples, which make test results too good."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from pathlib import Path
from typing import Any

from mmcl.data.attributes import attributes_of
from mmcl.errors import DataError


def overlaps(splits: Mapping[str, Any]) -> list[str]:
    """Describe what splits share, one sentence per pair of splits and kind, with a count and the first example.

    Kinds are recordings or images (by path and by content), sample ids, rows of numbers, and texts if the data set sets
    ``texts_apart``. Shared speakers are counted if most speakers occur in one split only. Recordings listed twice in
    one split are counted too.

    Args:
        splits: data sets by split name.

    >>> class Said:
    ...     texts_apart, utterances = True, ()
    ...     def __init__(self, *texts): self.texts = texts
    >>> overlaps({"train": Said("on", "off"), "test": Said("off")})
    ["1 of 1 texts of test are in train as well, first 'off'"]
    """
    said: list[str] = []
    for kind, read in _KINDS.items():
        if kind == "ids" and said:  # already reported as recordings
            continue
        keys = {name: list(read(data)) for name, data in splits.items()}
        if kind in ("recordings", "ids"):
            said += [_repeated(kind, name, own) for name, own in keys.items() if len(set(own)) < len(own)]
        said += _shared(kind, keys, (lambda name, place: f"sample {place}") if kind == "rows" else None)
    files = {name: _files(data) for name, data in splits.items()}
    return [*said, *_shared("files", _digests(files), lambda name, place: str(files[name][place]))]


def _shared(
    kind: str, keys: Mapping[str, Sequence[Any]], show: Callable[[str, int], str] | None = None
) -> Iterator[str]:
    for first, second in combinations(keys, 2):
        known = set(keys[first])
        places = [place for place, key in enumerate(keys[second]) if key in known and key is not None]
        if kind == "speakers":  # only if speakers are meant to be disjoint, that is if few are shared
            sides = known - {None}, set(keys[second]) - {None}
            if not 0 < 2 * len(sides[0] & sides[1]) <= min(map(len, sides)):
                continue
        if places:
            example = show(second, places[0]) if show else f"{keys[second][places[0]]!r:.200}"
            contents = " by their content" if kind == "files" else ""
            what = "samples" if kind == "speakers" else kind
            by = ", by the same speaker" if kind == "speakers" else ""
            yield (
                f"{len(places)} of {len(keys[second])} {what} of {second} are in {first} as well{contents}{by}, first "
                f"{example}"
            )


def _repeated(kind: str, name: str, keys: Sequence[Any]) -> str:
    repeated = [key for key, count in Counter(keys).items() if count > 1]
    return f"{len(keys) - len(set(keys))} {kind} of {name} are there more than once, first {repeated[0]!r:.200}"


def _files(data: Any) -> list[Path]:
    attributes = attributes_of(data)
    if attributes.described:
        return [each.image for each in attributes.described]
    if attributes.utterances:
        return [utterance.path for utterance in attributes.utterances]
    return list(attributes.files or ())


def _recordings(data: Any) -> Iterable[str]:
    return map(str, _files(data))


def _ids(data: Any) -> Iterable[str]:
    attributes = attributes_of(data)
    return [each.id for each in attributes.exercises or attributes.utterances or ()]


def _texts(data: Any) -> Iterable[str]:
    attributes = attributes_of(data)
    if not attributes.texts_apart:
        return []
    return data.texts if attributes.exercises is None else [each.question for each in attributes.exercises]


def _speakers(data: Any) -> Iterable[str | None]:
    return [utterance.speaker or None for utterance in attributes_of(data).utterances or ()]


def _rows(data: Any) -> Iterable[bytes]:
    """Yield a digest of the images or numbers of each sample, without its label."""
    held = attributes_of(data).held
    if held is None:
        return
    tables = held()
    for row in range(len(data)):
        digest = blake2b(digest_size=16)
        for table in tables:
            digest.update(table[row].tobytes())
        yield digest.digest()


_KINDS: dict[str, Callable[[Any], Iterable[Any]]] = {
    "recordings": _recordings,
    "ids": _ids,
    "texts": _texts,
    "speakers": _speakers,
    "rows": _rows,
}


def _digests(files: Mapping[str, Sequence[Path]]) -> dict[str, list[Any]]:
    """Return digests of files that another split may have under another path (equal size), None for other files."""
    sizes: dict[int, set[str]] = {}
    size_of: dict[Path, int] = {}
    for name, paths in files.items():
        for path in paths:
            try:
                size_of[path] = path.stat().st_size
            except OSError:  # the reader of the file reports it
                continue
            sizes.setdefault(size_of[path], set()).add(name)
    listed = Counter(path for paths in files.values() for path in set(paths))
    read: dict[Path, bytes] = {}

    def digest(path: Path) -> bytes | None:
        if path not in size_of or size_of[path] == 0 or len(sizes[size_of[path]]) < 2 or listed[path] > 1:
            return None  # equal paths are reported as recordings
        if path not in read:
            read[path] = _digest(path)
        return read[path]

    return {name: [digest(path) for path in paths] for name, paths in files.items()}


def _digest(path: Path) -> bytes:
    digest = blake2b(digest_size=16)
    try:
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror}): check its permissions") from None
    return digest.digest()

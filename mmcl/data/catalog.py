"""Catalog of data sets: list them, find their folders and check their files."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mmcl.data
from mmcl.config.option_types import check_option_types
from mmcl.data.attributes import attributes_of
from mmcl.data.audio_formats import AUDIO_SUFFIXES
from mmcl.data.base import Source, SpeechDataset
from mmcl.data.file_faults import FileFault, examined_file, logged_faults
from mmcl.data.fingerprint import opened
from mmcl.data.folders import files_below
from mmcl.data.overlap import overlaps
from mmcl.data.own import open_table
from mmcl.errors import ConfigError, DataError, MissingDataError, MMCLError
from mmcl.files.cache_dir import cache_dir
from mmcl.lazy import stated_imports
from mmcl.text.suggest import nearest
from mmcl.threads import ThreadPool


@dataclass(frozen=True)
class CatalogEntry:
    """A data set that mmcl can read: its name, its class as ``"module:Class"``, and facts from its owner."""

    name: str
    loader: str
    folder: str
    owner: str
    license: str
    size: str
    url: str
    splits: tuple[str, ...]
    note: str
    source: Source = field(repr=False)

    def load(self) -> type[SpeechDataset]:
        """Import and return the class of the data set."""
        module, _, name = self.loader.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class DatasetStatus:
    """Whether a data set is on this machine, its folder (or the first place searched), and why it is missing."""

    found: bool
    path: Path
    why: str = ""


@lru_cache(maxsize=1)
def entries() -> tuple[CatalogEntry, ...]:
    """List all data sets that have a ``source``, sorted by name.

    >>> [entry.name for entry in entries()][:4]
    ['anli', 'barista', 'brca', 'cifar10']
    """
    found = []
    for name, module in stated_imports(mmcl.data.__file__).items():
        if module.count(".") < 3:  # data sets live in subfolders of mmcl.data
            continue
        dataset = getattr(import_module(module), name)
        source = vars(dataset).get("source")  # not inherited: a subclass without a source is not a data set of its own
        if source is not None:
            found.append(
                CatalogEntry(
                    name=source.name,
                    loader=f"{module}:{name}",
                    folder=source.folder,
                    owner=source.owner,
                    license=source.license,
                    size=source.size,
                    url=source.url,
                    splits=dataset.splits,
                    note=source.note,
                    source=source,
                )
            )
    return tuple(sorted(found, key=lambda entry: entry.name))


def find(name: str) -> CatalogEntry:
    """Return the entry of a data set; raises DataError with the nearest name if the name is unknown."""
    names = [entry.name for entry in entries()]
    if name not in names:
        raise DataError(
            f"there is no data set '{name}'{nearest(name, (*names, 'table'))}: expected one of {', '.join(names)}; or "
            "table for your own files"
        )
    return entries()[names.index(name)]


def status(entry: CatalogEntry, root: str | Path | None = None) -> DatasetStatus:
    """Search for a data set in ``root``, or without it in ``MMCL_DATA`` and then in the user's cache."""
    if root is not None:
        places = [Path(root).expanduser()]
    else:
        shared = os.environ.get("MMCL_DATA")
        places = [Path(shared).expanduser() / entry.folder] if shared else []
        places.append(cache_dir() / "data" / entry.folder)
    lacks = []
    for place in places:
        lack = entry.source.lack(place)
        if not lack:
            return DatasetStatus(True, place)
        lacks.append(lack)
    return DatasetStatus(False, places[0], f"{' and '.join(lacks)}; {entry.source.offer()}")


def open_dataset(name: str, split: str, root: str | Path | None = None, **options: Any) -> SpeechDataset:
    """Open one split of a data set by name; ``options`` are keyword arguments of its class.

    Generated data sets are created first if they are missing. ``table`` is user data in ``root``, a file or folder as
    for :class:`~mmcl.data.LabelledTable`.

    Raises:
        MissingDataError: the data set is not on this machine; the message says where it was searched and how to get it.
        DataError: the data set or split does not exist, or cannot be read.
        ConfigError: the data set has no such option, or ``table`` has no root.
    """
    dataset = _class_of(name)
    check_options(name, dataset, options)
    if name == "table":
        own: Any = open_table(root, split, **options)
        return opened(own, name, split, root=root, **options)
    entry = find(name)
    state = status(entry, root)
    if not entry.url:  # generated: the options select which corpus is meant
        made = dataset(state.path if state.found and not options else root, split, **options)
        return opened(made, name, split, root=root, **options)
    if not state.found:
        raise MissingDataError(f"data set {name} is missing: {state.why}")
    return opened(dataset(state.path, split, **options), name, split, root=root, **options)


def check_options(name: str, dataset: Any, options: Mapping[str, Any]) -> None:
    """Check that the class of a data set has all options.

    Raises:
        ConfigError: an option is unknown, with the nearest name, or a value has another type.
    """
    known = [option for option in inspect.signature(dataset).parameters if option not in ("root", "split")]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"data set {name} has no option '{option}'{nearest(option, known)}: expected some of {', '.join(known)}"
            )
    check_option_types(dataset, options, f"data set {name}")


def check_dataset_options(name: str, options: Mapping[str, Any]) -> None:
    """Check the options of a data set by its name; see :func:`check_options`."""
    check_options(name, _class_of(name), options)


def is_generated(name: str) -> bool:
    """Return whether mmcl generates a data set when it is missing."""
    return name != "table" and not find(name).url


def _class_of(name: str) -> Any:
    if name == "table":
        from mmcl.data.labelled_table import LabelledTable

        return LabelledTable
    return find(name).load()


def check_dataset(
    entry: CatalogEntry,
    progress: Callable[[int, int], None] | None = None,
    root: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[FileFault]:
    """Read all annotations and recordings of a data set and return what is wrong, errors before warnings.

    Args:
        entry: the data set.
        progress: called with the number of recordings checked so far and their total.
        root: folder of the data set; None searches for it.
        options: options of the data set; None reads all of its files, also those that options choose.

    Raises:
        MissingDataError: the data set is not on this machine.
        ConfigError: an option is unknown.
    """
    state = status(entry, root)
    dataset: Any = entry.load()
    if options:
        check_options(entry.name, dataset, options)
    if not state.found:
        raise MissingDataError(f"data set {entry.name} is missing: {state.why}")
    faults: list[FileFault] = []
    listed: set[Path] = set()
    for given, names in _variants(entry, dataset, state.path, options):
        splits: dict[str, Any] = {}
        with logged_faults(faults, state.path):
            for split in names:
                try:
                    splits[split] = dataset(state.path, split, **given)
                except MMCLError as error:
                    faults.append(FileFault(state.path, str(error)))
        chosen = "".join(f" ({key}={value})" for key, value in given.items())
        faults += [FileFault(state.path, said + chosen, warning=True) for said in overlaps(splits)]
        listed |= {utterance.path for each in splits.values() for utterance in attributes_of(each).utterances or ()}
    faults += _warned(dataset, state.path)
    files = sorted(listed.union(_audio_files(state.path)))
    with ThreadPool() as pool:  # decoders are C code that releases the GIL
        for done, found in enumerate(pool.map(_check_file, files), start=1):
            faults += found
            if progress is not None:
                progress(done, len(files))
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.warning, fault.path))


def make_dataset(name: str = "synthetic_commands", root: str | Path | None = None, **options: Any) -> Path:
    """Generate a data set in ``root``, or without it in the user's cache, and return its folder.

    ``options`` are keyword arguments of its class.

    Raises:
        DataError: the data set is not generated but offered by its owner.
    """
    entry = find(name)
    if entry.url:
        raise DataError(f"data set {name} cannot be made: {entry.source.offer()}")
    dataset: Any = entry.load()
    made: Path = dataset.generate(root, **options)  # not in MMCL_DATA, which may be shared and read-only
    return made


def _variants(
    entry: CatalogEntry, dataset: Any, root: Path, options: Mapping[str, Any] | None
) -> Iterable[tuple[Mapping[str, Any], Sequence[str]]]:
    """Return options and splits to check, which together read all files unless options are given."""
    if options or not hasattr(dataset, "variants"):
        return [(options or {}, entry.splits)]
    found: Iterable[tuple[Mapping[str, Any], Sequence[str]]] = dataset.variants(root)
    return found


def _warned(dataset: Any, root: Path) -> list[FileFault]:
    """Return further warnings of the class of a data set of speech."""
    if not (isinstance(dataset, type) and issubclass(dataset, SpeechDataset)):
        return []
    try:
        return [FileFault(root, said, warning=True) for said in dataset.warnings_of(root)]
    except MMCLError as error:
        return [FileFault(root, str(error))]


def _audio_files(root: Path) -> list[Path]:
    return [path for path in files_below(root) if path.suffix.lower() in AUDIO_SUFFIXES]


def _check_file(path: Path) -> list[FileFault]:
    return examined_file(path)[0]

"""Which data sets there are, where each lies on this machine, and whether its files are sound."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mmcl.data
from mmcl.data.audio_formats import AUDIO_SUFFIXES
from mmcl.data.base import SILENCE, Source, SpeechDataset
from mmcl.data.fingerprint import opened
from mmcl.data.folders import files_below
from mmcl.data.overlap import overlaps
from mmcl.errors import AudioError, ConfigError, DataError, MissingDataError, MMCLError
from mmcl.lazy import stated_imports
from mmcl.text.escape import encodable
from mmcl.text.suggest import nearest


@dataclass(frozen=True)
class Entry:
    """A data set that mmcl can read: its name, its class as ``"module:Class"``, and what its owner says of it."""

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
        """Import and return the class."""
        module, _, name = self.loader.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class Status:
    """Whether a data set is on this machine: its folder, or where it is looked for first and why it is missing."""

    found: bool
    path: Path
    why: str = ""


@dataclass(frozen=True)
class Fault:
    """A file or annotation that cannot be used, or, as a ``warning``, can be but should be looked at."""

    path: Path
    reason: str
    warning: bool = False


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """List every data set that says where it comes from, by name.

    >>> [entry.name for entry in entries()][:4]
    ['anli', 'barista', 'brca', 'cifar10']
    """
    found = []
    for name, module in stated_imports(mmcl.data.__file__).items():
        if module.count(".") < 3:  # data sets are in the folders of data; beside these is what works on any of them
            continue
        dataset = getattr(import_module(module), name)
        source = vars(dataset).get("source")  # its own: a data set read by another's loader is not that other
        if source is not None:
            found.append(
                Entry(
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


def find(name: str) -> Entry:
    """Return the data set called ``name``; raises DataError with the nearest name if there is none."""
    names = [entry.name for entry in entries()]
    if name not in names:
        raise DataError(f"there is no data set '{name}'{nearest(name, names)}: expected one of {', '.join(names)}")
    return entries()[names.index(name)]


def cache_dir() -> Path:
    """Return the folder of what mmcl makes and keeps: ``MMCL_CACHE``, or else ``~/.cache/mmcl``."""
    return Path(os.environ.get("MMCL_CACHE") or "~/.cache/mmcl").expanduser()


def status(entry: Entry, root: str | Path | None = None) -> Status:
    """Look for a data set in ``root``, or else in ``MMCL_DATA``, or else in the user's cache."""
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
            return Status(True, place)
        lacks.append(lack)
    return Status(False, places[0], f"{' and '.join(lacks)}; {entry.source.offer()}")


def data_root(name: str, root: str | Path | None = None) -> Path:
    """Return the folder of a data set: where it is, or, if it is missing, where it is looked for first."""
    return status(find(name), root).path


def open_dataset(name: str, split: str, root: str | Path | None = None, **options: Any) -> SpeechDataset:
    """Read one split of a data set by its name; ``options`` are those of its class.

    A data set that is generated is made first, where it is missing.

    Raises:
        MissingDataError: the data set is not on this machine; says where it was looked for and how to get it.
        DataError: there is no such data set or split, or it cannot be read.
        ConfigError: the data set has no such option.
    """
    entry = find(name)
    dataset: Any = entry.load()
    check_options(name, dataset, options)
    state = status(entry, root)
    if not entry.url:  # it is made where it is missing, and its options say which one is meant
        made = dataset(state.path if state.found and not options else root, split, **options)
        return opened(made, name, split, root=root, **options)
    if not state.found:
        raise MissingDataError(f"data set {name} is missing: {state.why}")
    return opened(dataset(state.path, split, **options), name, split, root=root, **options)


def check_options(name: str, dataset: Any, options: Mapping[str, Any]) -> None:
    """Refuse options that the class of a data set does not have; raises ConfigError with the nearest name."""
    known = [option for option in inspect.signature(dataset).parameters if option not in ("root", "split")]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"data set {name} has no option '{option}'{nearest(option, known)}: expected some of {', '.join(known)}"
            )


def check(
    entry: Entry, progress: Callable[[int, int], None] | None = None, root: str | Path | None = None
) -> list[Fault]:
    """Read every annotation and every recording of a data set; return what is wrong, faults before warnings.

    Args:
        entry: the data set.
        progress: called with the number of recordings read and their total.
        root: its folder; None looks for it.

    Raises:
        MissingDataError: the data set is not on this machine.
    """
    state = status(entry, root)
    if not state.found:
        raise MissingDataError(f"data set {entry.name} is missing: {state.why}")
    dataset: Any = entry.load()
    faults: list[Fault] = []
    splits: dict[str, Any] = {}
    with _log_into(faults, state.path):
        for split in entry.splits:
            try:
                splits[split] = dataset(state.path, split)
            except MMCLError as error:
                faults.append(Fault(state.path, str(error)))
    faults += _shared(dataset, state.path, splits)
    listed = {utterance.path for loaded in splits.values() for utterance in getattr(loaded, "utterances", ())}
    files = sorted(listed.union(_audio_files(state.path)))
    with ThreadPoolExecutor() as pool:  # decoding is C code that lets other threads run
        for done, found in enumerate(pool.map(_check_file, files), start=1):
            faults += found
            if progress is not None:
                progress(done, len(files))
    return sorted(dict.fromkeys(faults), key=lambda fault: (fault.warning, fault.path))


def make(name: str = "synthetic_commands", root: str | Path | None = None, **options: Any) -> Path:
    """Make a data set that is generated, in ``root`` or else in the user's cache, and return its folder.

    ``options`` are those of its class.

    Raises:
        DataError: the data set is one of recordings, which its owner offers.
    """
    entry = find(name)
    if entry.url:
        raise DataError(f"data set {name} cannot be made: {entry.source.offer()}")
    dataset: Any = entry.load()
    made: Path = dataset.generate(root, **options)  # never in MMCL_DATA, which may be shared and read-only
    return made


def _shared(dataset: Any, root: Path, splits: Mapping[str, Any]) -> list[Fault]:
    """What two splits share, also by options that are not the usual ones."""
    said = overlaps(splits)
    try:
        said += getattr(dataset, "warnings_of", lambda root: [])(root)
    except MMCLError as error:
        return [Fault(root, str(error)), *(Fault(root, each, warning=True) for each in said)]
    return [Fault(root, each, warning=True) for each in said]


def _audio_files(root: Path) -> list[Path]:
    return [path for path in files_below(root) if path.suffix.lower() in AUDIO_SUFFIXES]


def _check_file(path: Path) -> list[Fault]:
    from mmcl.data.audio import examine

    try:
        found = examine(path)
    except (AudioError, MissingDataError) as error:
        return [Fault(path, str(error).removeprefix(f"{encodable(str(path))} "))]
    remarks = [*found.warnings, *found.notes]
    peak = float(abs(found.waveform - found.waveform.mean()).max())
    if peak < SILENCE:
        remarks.append(f"is silent: its loudest sample is {peak:.2g}")
    return [Fault(path, remark, warning=True) for remark in remarks]


@contextmanager
def _log_into(faults: list[Fault], path: Path) -> Iterator[None]:
    """Keep what loaders log as warnings, instead of showing it once for each split."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: faults.append(Fault(path, record.getMessage(), warning=True))  # type: ignore[method-assign]
    loader_log = logging.getLogger("mmcl")  # parent of those of loaders and readers
    propagate = loader_log.propagate
    loader_log.addHandler(handler)
    loader_log.propagate = False
    try:
        yield
    finally:
        loader_log.removeHandler(handler)
        loader_log.propagate = propagate

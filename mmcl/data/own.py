"""User data by name: open it for a task, check every file of it, and describe it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcl.data.base import Source
from mmcl.errors import ConfigError, DataError, MissingDataError, MMCLError
from mmcl.threads import ThreadPool

if TYPE_CHECKING:
    from mmcl.data.captions import Captions
    from mmcl.data.catalog import CatalogEntry
    from mmcl.data.file_faults import FileFault
    from mmcl.data.labelled_table import LabelledTable
    from mmcl.data.own_rows import OwnRow, OwnRows

OWN = ("table", "captions")  #: names of user data in configs
Progress = Callable[[int, int], None]


def open_table(root: str | Path | None, split: str, **options: Any) -> LabelledTable:
    """Open a split of user data.

    Raises:
        ConfigError: ``root`` is None.
    """
    from mmcl.data.labelled_table import LabelledTable

    if root is None:
        raise ConfigError("data.root is none, expected a file or folder of your own: set data.root=FILE")
    return LabelledTable(root, split, **options)


def open_captions(root: Path, split: str) -> Captions:
    """Open a CSV in a folder, or the folder itself if ``split`` is ``"."``."""
    from mmcl.data.captions import Captions

    return Captions(root / split)


def captions_entry(root: str | Path) -> tuple[CatalogEntry, Path]:
    """Return a catalog entry for captions, and their folder.

    Args:
        root: a folder of CSV files, a CSV, or a folder of files and texts.

    Raises:
        MissingDataError: ``root`` does not exist.
    """
    from mmcl.data.catalog import CatalogEntry

    place = Path(root).expanduser()
    if not place.exists():
        raise MissingDataError(f"{place} does not exist: check the path")
    folder = place if place.is_dir() else place.parent
    tables = sorted(folder.glob("*.csv")) if place.is_dir() else [place]
    splits = tuple(path.name for path in tables) or (".",)
    source = Source("captions", str(folder), (".",), "you", "yours", "", "")
    loader = f"{__name__}:open_captions"
    entry = CatalogEntry("captions", loader, str(folder), "you", "yours", "", "", splits, "files of your own", source)
    return entry, folder


@dataclass(frozen=True)
class OwnSummary:
    """Contents of user data.

    Attributes:
        root: file or folder.
        own: its rows; None if it cannot be read.
        splits: rows of each split, including those that were drawn.
        made: splits that were drawn.
        faults: what is wrong with rows and files, errors before warnings.
        seconds: duration of each recording that was decoded.
    """

    root: Path
    own: OwnRows | None
    splits: Mapping[str, Sequence[OwnRow]] = field(default_factory=dict)
    made: tuple[str, ...] = ()
    faults: Sequence[FileFault] = ()
    seconds: Sequence[float] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """What each row has: audio, image, text, numbers."""
        if self.own is None:
            return ()
        texts = ("text",) if {"text", "transcript"} & set(self.own.columns) else ()
        files = tuple(kind for kind in ("audio", "image") if kind in self.own.columns)
        return (*files, *texts, *(("numbers",) if self.own.numbers else ()))

    @property
    def targets(self) -> list[float]:
        """Numbers to predict of the rows of all splits."""
        return [row.target for rows in self.splits.values() for row in rows if row.target is not None]

    @property
    def counts(self) -> dict[str, Counter[str]]:
        """Number of rows of each class in each split."""
        return {split: Counter(row.label.strip() for row in rows) for split, rows in self.splits.items()}


def describe_own(root: str | Path, **options: Any) -> OwnSummary:
    """Read user data without decoding any file; faults of rows are collected.

    Args:
        root: file or folder, see :class:`~mmcl.data.LabelledTable`.
        options: options of ``LabelledTable`` that concern its rows, such as ``columns``.

    Raises:
        MissingDataError: ``root`` does not exist, or holds no data.
        DataError: the columns cannot be used.
    """
    from mmcl.data.file_faults import FileFault, logged_faults
    from mmcl.data.labelled_table import with_made_splits
    from mmcl.data.own_rows import read_own

    root = Path(root).expanduser()
    faults: list[FileFault] = []
    with logged_faults(faults, root):
        own = read_own(
            root,
            options.get("columns"),
            labelled=options.get("labelled", True),
            target=options.get("target"),
            faults=lambda fault: faults.append(FileFault(root, str(fault))),
        )
        splits, made = own.splits, tuple[str, ...]()
        if own.splits:
            try:
                seed, apart = options.get("split_seed", 0), options.get("by_speaker", True)
                splits, made = with_made_splits(own, root, seed, speakers_apart=apart)
            except DataError as error:
                faults.append(FileFault(root, str(error)))
    return OwnSummary(root, own, splits, made, faults)


def check_own(root: str | Path, progress: Progress | None = None, **options: Any) -> OwnSummary:
    """Read every row and decode every listed file of user data.

    Args:
        root: file or folder, see :class:`~mmcl.data.LabelledTable`.
        progress: called with the number of files checked so far and their total.
        options: options of ``LabelledTable``.
    """
    from dataclasses import replace

    from mmcl.data.file_faults import FileFault, logged_faults
    from mmcl.data.overlap import overlaps

    root = Path(root).expanduser()
    try:
        found = describe_own(root, **options)
    except MMCLError as error:
        return OwnSummary(root, None, faults=[FileFault(root, str(error))])
    faults = list(found.faults)
    errors = sum(not fault.warning for fault in faults)
    listed = {path: row for rows in found.splits.values() for row in rows for path in row.files.values()}
    seconds: list[float] = []
    with ThreadPool() as pool:  # decoders are C code that releases the GIL
        for done, (more, length) in enumerate(pool.map(_checked, listed, listed.values()), start=1):
            faults += more
            seconds += [] if length is None else [length]
            if progress is not None:
                progress(done, len(listed))
    if not errors and all(path.is_file() for path in listed):
        opened = {}
        with logged_faults(faults, root):
            for split in found.splits:
                try:
                    opened[split] = open_table(root, split, **options)
                except MMCLError as error:
                    faults.append(FileFault(root, str(error)))
        faults += [FileFault(root, said, warning=True) for said in overlaps(opened)]
    faults = sorted(dict.fromkeys(faults), key=lambda fault: (fault.warning, fault.path))
    return replace(found, faults=faults, seconds=sorted(seconds))


def _checked(path: Path, row: OwnRow) -> tuple[list[FileFault], float | None]:
    """Decode one file; return its faults, and its seconds if it is a recording."""
    from mmcl.data.file_faults import FileFault, examined_file
    from mmcl.data.images.image_file import load_image

    where = f"listed in {row.source.name}, {row.place}"
    if not path.is_file():
        return [FileFault(path, f"does not exist, {where}: paths are relative to the table")], None
    if row.files.get("audio") == path:
        return examined_file(path, where)
    try:
        load_image(path, 8)
    except MMCLError as error:
        return [FileFault(path, f"{str(error).removeprefix(f'{path} ')} ({where})")], None
    return [], None

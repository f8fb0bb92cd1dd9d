"""Files of your own, so that ``mmcl data check`` reads them like a data set: a table, or captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmcl.data.base import Source
from mmcl.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from mmcl.data.captions import Captions
    from mmcl.data.catalog import Entry
    from mmcl.data.labelled_table import LabelledTable

OWN = {"table": "open_table", "captions": "open_captions"}  #: names, as configs have them, and what opens a split


def open_table(root: Path, split: str) -> LabelledTable:
    """Open ``<split>.csv`` of a folder."""
    from mmcl.data.labelled_table import LabelledTable

    return LabelledTable(root, split)


def open_captions(root: Path, split: str) -> Captions:
    """Open a CSV in a folder, or, as ``"."``, the folder."""
    from mmcl.data.captions import Captions

    return Captions(root / split)


def own_entry(name: str, root: str | Path | None) -> tuple[Entry, Path]:
    """Return files of your own as an entry of the catalog, and their folder.

    Args:
        name: ``"table"``: each CSV of the folder is a split. ``"captions"``: likewise, or the CSV that ``root`` is, or
            the folder itself where it has none.
        root: folder or file.

    Raises:
        DataError: no root is given.
        MissingDataError: it is not there, or has no CSV for a table.

    >>> own_entry("table", None)
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: data set table is files of your own: name their folder, with --root DIR
    """
    from mmcl.data.catalog import Entry

    if root is None:
        raise DataError(f"data set {name} is files of your own: name their folder, with --root DIR")
    place = Path(root).expanduser()
    if not place.exists():
        raise MissingDataError(f"there is no {place}: check the path")
    folder = place if place.is_dir() else place.parent
    tables = sorted(folder.glob("*.csv")) if place.is_dir() else [place]
    if name == "table" and not tables:
        raise MissingDataError(f"{place} has no CSV, expected one for each split, such as train.csv")
    splits = tuple(path.stem if name == "table" else path.name for path in tables) or (".",)
    source = Source(name, str(folder), (".",), "you", "yours", "", "")
    loader = f"{__name__}:{OWN[name]}"
    return Entry(name, loader, str(folder), "you", "yours", "", "", splits, "files of your own", source), folder

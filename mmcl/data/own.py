"""User data in the data catalog: ``mmcl data check`` for a labelled table or captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmcl.data.base import Source
from mmcl.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from mmcl.data.captions import Captions
    from mmcl.data.catalog import CatalogEntry
    from mmcl.data.labelled_table import LabelledTable

OWN = {"table": "open_table", "captions": "open_captions"}  #: names in configs, and the functions that open a split


def open_table(root: Path, split: str) -> LabelledTable:
    """Open ``<split>.csv`` in a folder."""
    from mmcl.data.labelled_table import LabelledTable

    return LabelledTable(root, split)


def open_captions(root: Path, split: str) -> Captions:
    """Open a CSV in a folder, or the folder itself if ``split`` is ``"."``."""
    from mmcl.data.captions import Captions

    return Captions(root / split)


def own_entry(name: str, root: str | Path | None) -> tuple[CatalogEntry, Path]:
    """Return a catalog entry for user data, and its folder.

    Args:
        name: ``"table"`` for a folder with one CSV per split, or ``"captions"`` for such a folder, a CSV, or a folder
            of files and texts without a CSV.
        root: folder or file.

    Raises:
        DataError: ``root`` is None.
        MissingDataError: ``root`` does not exist, or has no CSV for a table.

    >>> own_entry("table", None)
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: data set table is user data: pass its folder with --root DIR
    """
    from mmcl.data.catalog import CatalogEntry

    if root is None:
        raise DataError(f"data set {name} is user data: pass its folder with --root DIR")
    place = Path(root).expanduser()
    if not place.exists():
        raise MissingDataError(f"{place} does not exist: check the path")
    folder = place if place.is_dir() else place.parent
    tables = sorted(folder.glob("*.csv")) if place.is_dir() else [place]
    if name == "table" and not tables:
        raise MissingDataError(f"{place} has no CSV, expected one for each split, such as train.csv")
    splits = tuple(path.stem if name == "table" else path.name for path in tables) or (".",)
    source = Source(name, str(folder), (".",), "you", "yours", "", "")
    loader = f"{__name__}:{OWN[name]}"
    return CatalogEntry(name, loader, str(folder), "you", "yours", "", "", splits, "files of your own", source), folder

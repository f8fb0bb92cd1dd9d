"""Recursive listing of files in a data folder, following symbolic links."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mmcl.errors import DataError

_MOST = 1_000_000  # folders: links to one another give more paths than any disk has folders


def files_below(root: str | Path) -> list[Path]:
    """Return all files below a folder, sorted, without hidden files and folders.

    Linked folders are entered, and their files are listed under the path of the link. A link to one of its own parent
    folders is skipped: those files are listed anyway.

    Raises:
        DataError: a folder cannot be read, or links lead to more than a million folders.

    >>> import tempfile
    >>> root, disk = Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())
    >>> (disk / "a.wav").touch()
    >>> (root / "linked").symlink_to(disk)
    >>> (root / "circle").symlink_to(root)
    >>> [str(path.relative_to(root)) for path in files_below(root)]
    ['linked/a.wav']
    """
    try:
        return sorted(_walk(Path(root)))
    except OSError as error:
        raise DataError(f"cannot read the folder {error.filename} ({error.strerror}): check its permissions") from None


def _walk(root: Path) -> Iterator[Path]:
    waiting = [(root, frozenset([_identity(root)]))]
    for _ in range(_MOST):
        if not waiting:
            return
        folder, above = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir():
                    yield folder / entry.name
                elif (identity := _identity(folder / entry.name)) not in above:
                    waiting.append((folder / entry.name, above | {identity}))
    raise DataError(f"{root} has more than {_MOST:,} folders: check for links that lead to one another")


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino

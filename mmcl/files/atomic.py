"""Files and folders that are written whole or not at all, whatever happens in between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcl.files.plain_files import check_replaceable


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path``; what was written there becomes ``path`` in one step at the end.

    If the body or the disk fails, the temporary file is gone and what was at ``path`` before is unharmed.

    Raises:
        OSError: the disk fails, or there is a link, a folder, a pipe or a device at ``path``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_whole(f"{folder}/note.txt") as temporary:
    ...         _ = temporary.write_text("all of it")
    ...     os.listdir(folder)
    ['note.txt']
    """
    path = Path(path)
    check_replaceable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # of a killed process with this number, or a link that would be followed
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # the writer may have put a file of its own there, which only its owner can read
        to_disk(temporary)
        os.replace(temporary, path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: str | Path) -> Iterator[Path]:
    """Give an empty folder beside ``folder``; what was put into it becomes ``folder`` in one step at the end.

    If the body or the disk fails, nothing is left of it. ``folder`` may be there if it is empty; if it is not, the last
    step is an OSError, and what is there is unharmed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with folder_written_whole(f"{folder}/model") as temporary:
    ...         _ = (temporary / "weights").write_text("all of them")
    ...     os.listdir(folder), os.listdir(f"{folder}/model")
    (['model'], ['weights'])
    """
    folder = Path(folder).absolute()
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*(path for path in temporary.rglob("*") if not path.is_symlink()), temporary):
            to_disk(path)
        os.replace(temporary, folder)
        to_disk(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def to_disk(path: Path) -> None:
    """Have the system write a file or folder out, so that it outlives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

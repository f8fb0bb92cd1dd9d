"""Atomic writing of files and folders: complete or not at all, even if the process is killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmcl.files.plain_files import check_replaceable


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; what the body writes there replaces ``path`` in one step.

    If the body or the disk fails, the temporary file is removed and an existing ``path`` is unchanged.

    Raises:
        OSError: the disk fails, or ``path`` is a link, a folder, a pipe or a device.

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
        temporary.unlink(missing_ok=True)  # left by a killed process with this id, or a link that would be followed
        temporary.touch(exist_ok=False)
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # the writer may have replaced the file by one that only its owner can read
        to_disk(temporary)
        os.replace(temporary, path)
        to_disk(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(folder: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to ``folder``, which is renamed to ``folder`` in one step at the end.

    If the body or the disk fails, the temporary folder is removed. ``folder`` may exist if it is empty; otherwise
    OSError is raised at the end and ``folder`` is unchanged.

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
    """Flush a file or folder to the disk, so that it survives a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

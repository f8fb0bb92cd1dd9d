"""Checks that folders hold regular files only: no links, pipes, sockets or devices.

A link in a folder from someone else could make mmcl read, change or delete files outside that folder. A named pipe
could block it forever.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from mmcl.errors import MMCLError, RunError

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def check_plain(folder: str | Path, *, error: type[MMCLError] = RunError, shared: bool = True) -> None:
    """Check that a folder holds regular files and folders only, at any depth.

    The folder itself may be a link. A missing folder passes.

    Args:
        folder: the folder to check.
        error: type of the error to raise.
        shared: accept files with another name (a hard link) outside the folder. Pass False before files are changed in
            place or published.

    Raises:
        RunError: a file is a symbolic link, a pipe, a socket or a device, or is shared; the message names it.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "notes").symlink_to("/etc/passwd")
    >>> check_plain(folder)
    Traceback (most recent call last):
    ...
    mmcl.errors.RunError: .../notes is a symbolic link, expected a regular file: replace it by a copy, or remove it
    """
    names: dict[tuple[int, int], list[str]] = {}
    links: dict[tuple[int, int], int] = {}
    open_ = [os.fspath(folder)]
    while open_:
        try:
            with os.scandir(open_.pop()) as entries:
                found = [(entry.path, entry.stat(follow_symlinks=False)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):  # missing, or a temporary file of another process
            continue
        except OSError as fault:
            raise error(f"cannot read {fault.filename} ({fault.strerror}): check its permissions") from None
        for path, about in found:
            if stat.S_ISDIR(about.st_mode):
                open_.append(path)
            elif not stat.S_ISREG(about.st_mode):
                raise error(f"{path} is {_kind(about.st_mode)}, expected a regular file: {_ADVICE}")
            elif about.st_nlink > 1:
                names.setdefault((about.st_dev, about.st_ino), []).append(path)
                links[about.st_dev, about.st_ino] = about.st_nlink
    for file, paths in names.items():
        if not shared and links[file] > len(paths):  # within the folder, checkpoints may share a file
            raise error(f"{paths[0]} has another name outside {folder} (a hard link): {_ADVICE}")


def check_replaceable(path: str | Path) -> None:
    """Check that a path can be replaced: it is missing, a regular file, or a folder (left to the system to refuse).

    Raises:
        OSError: the path is a link, a pipe, a socket or a device; ``strerror`` names it.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EEXIST, f"it is {_kind(mode)}, expected a regular file or none", os.fspath(path))


_ADVICE = "replace it by a copy, or remove it"


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "not a regular file")

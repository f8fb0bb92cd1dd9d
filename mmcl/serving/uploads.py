"""Recordings that were sent to the page: few, small, and deleted once no page shows them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from secrets import token_urlsafe
from threading import Lock
from typing import IO, NamedTuple

_MOST = 32  # recordings at a time
_NAME = re.compile(r"[^\w. -]+")
_LONGEST_NAME = 100  # characters


class _Recording(NamedTuple):
    """Where it is, and the page that asked about it."""

    path: Path
    page: str | None


class Uploads:
    """The recordings in a folder, by their paths; several threads may call.

    A page is known by the hash of its session. It is open as long as its heartbeat is.

    Args:
        folder: an own folder for them.
        most: how many are kept; the oldest makes way for a new one.

    >>> import io, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     uploads = Uploads(folder)
    ...     path = uploads.add("../order.wav", io.BytesIO(b"RIFF"))
    ...     path.name, uploads.claim(str(path), "page"), uploads.claim("/etc/hostname", "page")
    ('order.wav', True, False)
    """

    def __init__(self, folder: str | Path, *, most: int = _MOST) -> None:
        self.folder = Path(folder).resolve()
        self.most = most
        self._kept: dict[str, _Recording] = {}  # the oldest first
        self._open: dict[str, int] = {}  # heartbeats of a page
        self._lock = Lock()

    def add(self, name: str, content: IO[bytes]) -> Path:
        """Write a recording under a path that cannot be guessed; ``name`` is only its last part.

        Raises:
            OSError: the disk is full; nothing is left of the recording.
        """
        last = _NAME.sub("_", re.split(r"[/\\]", name)[-1]).strip(". ")[-_LONGEST_NAME:] or "recording"
        path = self.folder / token_urlsafe(16) / last
        path.parent.mkdir()
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
        except BaseException:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise
        with self._lock:
            self._kept[str(path)] = _Recording(path, None)
            for oldest in list(self._kept)[: -self.most]:
                self._delete(oldest)
        return path

    def find(self, path: str) -> Path | None:
        """Return the path of a recording that is kept, or None."""
        with self._lock:
            kept = self._kept.get(path)
        return kept.path if kept else None

    def claim(self, path: str, page: str) -> bool:
        """Note that a page asks about a recording, and delete the ones it asked about before; False: not kept."""
        with self._lock:
            if path not in self._kept:
                return False
            self._kept[path] = self._kept[path]._replace(page=page)
            for other, recording in list(self._kept.items()):
                if recording.page == page and other != path:
                    self._delete(other)
            return True

    def release(self, path: str) -> None:
        """Delete a recording, unless the page that asked about it is open: it may ask again."""
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept.page not in self._open:
                self._delete(path)

    def page_opened(self, page: str) -> None:
        """Note that a page is open."""
        with self._lock:
            self._open[page] = self._open.get(page, 0) + 1

    def page_closed(self, page: str) -> None:
        """Delete the recordings of a page, once it is nowhere open."""
        with self._lock:
            self._open[page] = self._open.get(page, 1) - 1
            if self._open[page] > 0:
                return
            del self._open[page]
            for path, recording in list(self._kept.items()):
                if recording.page == page:
                    self._delete(path)

    def _delete(self, path: str) -> None:
        shutil.rmtree(self._kept.pop(path).path.parent, ignore_errors=True)

"""Storage of uploaded recordings, which are deleted once no page shows them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from secrets import token_urlsafe
from threading import Lock
from typing import IO, NamedTuple

_MAX_RECORDINGS = 32
_NAME = re.compile(r"[^\w. -]+")
_MAX_NAME = 100  # characters


class _Recording(NamedTuple):
    """The path of a recording, and the page that uses it."""

    path: Path
    page: str | None


class Uploads:
    """The recordings in a folder. Methods are thread-safe.

    A page is identified by its session hash, and open as long as its heartbeat.

    Args:
        folder: Folder of the recordings.
        maximum: Number of recordings to keep; the oldest is deleted first.

    >>> import io, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     uploads = Uploads(folder)
    ...     path = uploads.add("../order.wav", io.BytesIO(b"RIFF"))
    ...     path.name, uploads.claim(str(path), "page"), uploads.claim("/etc/hostname", "page")
    ('order.wav', True, False)
    """

    def __init__(self, folder: str | Path, *, maximum: int = _MAX_RECORDINGS) -> None:
        self.folder = Path(folder).resolve()
        self.maximum = maximum
        self._kept: dict[str, _Recording] = {}  # oldest first
        self._open: dict[str, int] = {}  # number of heartbeats by page
        self._lock = Lock()

    def add(self, name: str, content: IO[bytes]) -> Path:
        """Store a recording under a secret path with ``name`` as the file name.

        Raises:
            OSError: The disk is full. No file is left then.
        """
        last = _NAME.sub("_", re.split(r"[/\\]", name)[-1]).strip(". ")[-_MAX_NAME:] or "recording"
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
            for oldest in list(self._kept)[: -self.maximum]:
                self._delete(oldest)
        return path

    def find(self, path: str) -> Path | None:
        """Return the path of a stored recording, or None."""
        with self._lock:
            kept = self._kept.get(path)
        return kept.path if kept else None

    def claim(self, path: str, page: str) -> bool:
        """Assign a recording to a page and delete the previous ones of that page. Returns False if not stored."""
        with self._lock:
            if path not in self._kept:
                return False
            self._kept[path] = self._kept[path]._replace(page=page)
            for other, recording in list(self._kept.items()):
                if recording.page == page and other != path:
                    self._delete(other)
            return True

    def release(self, path: str) -> None:
        """Delete a recording, unless its page is open and may use it again."""
        with self._lock:
            kept = self._kept.get(path)
            if kept is not None and kept.page not in self._open:
                self._delete(path)

    def page_opened(self, page: str) -> None:
        """Register that a page was opened."""
        with self._lock:
            self._open[page] = self._open.get(page, 0) + 1

    def page_closed(self, page: str) -> None:
        """Register that a page was closed, and delete its recordings if it is not open elsewhere."""
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

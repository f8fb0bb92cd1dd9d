"""The file ``status.json``: the status of a run, and its metrics at that time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mmcl.errors import RunError
from mmcl.files.sealed_json import read_sealed, sealed, write_sealed
from mmcl.runs.log import Mark


class RunStatus(NamedTuple):
    """The content of ``status.json``."""

    status: str  #: ``running``, ``finished``, ``interrupted`` or ``failed: <reason>``; ``unknown`` without a file
    mark: Mark | None  #: the metrics when the file was written; None if unknown


class StatusFile:
    """The file ``status.json`` of a run.

    >>> import tempfile
    >>> file = StatusFile(Path(tempfile.mkdtemp(), "status.json"))
    >>> file.read().status
    'unknown'
    >>> file.write("finished", None)
    >>> file.read().status
    'finished'
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> RunStatus:
        """Read the file.

        Raises:
            RunError: The file is damaged.
        """
        if not self.path.exists():
            return RunStatus("unknown", None)
        try:
            content = read_sealed(self.path)
            if not isinstance(content.get("status"), str):
                raise RunError(f"{self.path} has no status, expected a string")
        except RunError as error:
            raise RunError(f"{error}, or delete it and resume the run, which writes it again") from None
        mark = content.get("metrics")
        if isinstance(mark, dict) and isinstance(mark.get("length"), int) and isinstance(mark.get("digest"), str):
            return RunStatus(content["status"], Mark(mark["length"], mark["digest"]))
        return RunStatus(content["status"], None)

    def write(self, status: str, mark: Mark | None) -> None:
        """Write the file.

        Raises:
            RunError: The file cannot be written.
        """
        write_sealed(self.path, self._content(status, mark))

    @classmethod
    def text(cls, status: str, mark: Mark) -> str:
        """Return the text of the file."""
        return sealed(cls._content(status, mark))

    @staticmethod
    def _content(status: str, mark: Mark | None) -> dict[str, object]:
        return {"status": status, "metrics": None if mark is None else mark._asdict()}

"""Run: a folder of results that can be resumed, compared and reported.

::

    config.yaml        resolved settings
    environment.json   task, settings, command, versions, machine, commit and seeds; a list of later resumes
    data.json          fingerprints of the data sets
    metrics.jsonl      one row per line, in training order
    checkpoints/       <name>.safetensors, and the previous checkpoint of each
    status.json        running, finished, interrupted, or failed with a reason
    report.html        written at the end
    tensorboard/       if the config has `tensorboard: true`

Files that results depend on are protected by digests. JSON files and checkpoints contain their own, ``config.yaml`` is
compared with the settings in ``environment.json``, and checkpoints and ``status.json`` have the digest of the metrics.
Folders of older versions without digests are read unchecked.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mmcl.data.fingerprint import noted_by
from mmcl.errors import RunError
from mmcl.files.plain_files import check_plain
from mmcl.files.sealed_json import content_digest, write_sealed
from mmcl.runs import signals
from mmcl.runs.checkpoints import RunCheckpoints
from mmcl.runs.data import RunData
from mmcl.runs.environment import describe_environment
from mmcl.runs.folder import create_folder
from mmcl.runs.log import START, RowFile
from mmcl.runs.settings import read_environment, read_settings
from mmcl.runs.status import StatusFile
from mmcl.runs.tensorboard import TensorBoardLog, check_tensorboard

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger(__name__)

_FILES = ("config.yaml", "environment.json", "metrics.jsonl")


class Run:
    """The folder of a run.

    One process writes it (:meth:`create`, :meth:`open`), any number of processes read it (:meth:`read`). As a context
    manager, a run that is written records how it ended: finished, interrupted, or failed with a reason.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: BaseFileLock | None = None
        self._rows = RowFile(folder / "metrics.jsonl")
        self._checkpoints = RunCheckpoints(folder / "checkpoints")
        self._data = RunData(folder)
        self._status = StatusFile(folder / "status.json")
        self._tensorboard: TensorBoardLog | None = None
        self._follows = False
        self._stack = ExitStack()

    # --- constructors ---

    @classmethod
    def create(
        cls, task: str, config: BaseModel, folder: str | Path | None = None, *, config_name: str = "config"
    ) -> Run:
        """Create a new run, by default in ``runs/<task>/<data set>-<config name>-<date>-<time>``.

        Raises:
            RunError: The folder is not empty, or cannot be written.
            ConfigError: The config asks for TensorBoard, which is not installed.
        """
        if getattr(config, "tensorboard", False):
            check_tensorboard()
        run = cls(create_folder(task, config, folder, config_name))
        run._start_writing()
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run to resume it from its last checkpoint. Rows of metrics after that checkpoint are removed.

        A damaged or missing checkpoint is replaced by the previous one, with a warning.

        Raises:
            RunError: The folder is not a run, contains links, or is in use by another process. Or its settings were
                changed, or metrics that belong to a checkpoint.
            CheckpointError: A checkpoint and the previous one are both damaged.
        """
        run = cls.read(folder)
        check_plain(run.folder, shared=False)
        environment, _ = run.environment, run.config
        if environment.get("format", 1) != 1:
            run._data.check_exists()
        run._acquire()
        try:
            for leftover in [*run.folder.glob(".*.tmp"), *run.folder.glob("checkpoints/.*")]:
                leftover.unlink(missing_ok=True)
            try:
                run._status.read()
            except RunError as error:
                logger.warning("%s", error)
            run._checkpoints.settings = run._settings_digest()
            recovery = run._checkpoints.recovery()
            for path, mark in recovery.marks.items():
                run._rows.check(mark, f"checkpoint {path} was written")
            mark = run._rows.marks([recovery.length])[recovery.length] or START
            run._checkpoints.apply(recovery)
            run._status.write("running", mark)  # before rows are removed, so that it never covers missing rows
            run._rows.truncate(mark.length)
            environment["resumed"].append(describe_environment())
            write_sealed(run.folder / "environment.json", environment)
            run._start_writing()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Open a run for reading. Another process may be writing it.

        Raises:
            RunError: The folder is not a run, or contains links, pipes or devices.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise RunError(f"run folder {folder} does not exist: check the path (`mmcl run` prints it)")
        for name in _FILES:
            if not (folder / name).exists() and not (folder / name).is_symlink():
                raise RunError(f"{folder} is not a run, it has no {name}: choose a folder made by `mmcl run`")
        check_plain(folder)
        return cls(folder)

    @classmethod
    def follow(cls, folder: str | Path) -> Run:
        """Open a run that the main process writes: in this process, logging and checkpointing do nothing."""
        run = cls.read(folder)
        run._follows = True
        return run

    # --- reading ---

    @property
    def config(self) -> dict[str, Any]:
        """The settings in ``config.yaml``.

        Raises:
            RunError: The file cannot be read, or was changed after the run began.
        """
        return read_settings(self.folder)

    @property
    def environment(self) -> dict[str, Any]:
        """Task, config name, command, versions and machine, from ``environment.json``.

        Raises:
            RunError: The file is missing, damaged or incomplete.
        """
        return read_environment(self.folder)

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.environment["task"])

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted`` or ``failed: <reason>``. A killed run remains ``running``.

        Raises:
            RunError: ``status.json`` is damaged.
        """
        return self._status.read().status

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the logged rows, optionally of one kind only. An incomplete last row is ignored.

        Raises:
            RunError: Another row is invalid or was changed.
        """
        for attempt in (1, 2):
            try:
                status = self._status.read()
                if status.mark is not None:
                    self._rows.check(status.mark, f"status.json was written ({status.status})")
                break
            except RunError:
                if attempt == 2:  # another process may have resumed the run during the first attempt
                    raise
        return self._rows.read(kind)

    # --- writing ---

    def log(self, kind: str, **values: object) -> None:
        """Append a row to the metrics. It is in the file on return, and permanent with the next checkpoint.

        Raises:
            RunError: The run was opened for reading, or the disk is full.
        """
        if self._follows:
            return
        row = {"kind": kind, **values}
        self._rows.append(row)
        if self._tensorboard is not None:
            self._tensorboard.write(row)

    def checkpoint(self, name: str, state: object) -> None:
        """Write a checkpoint (see :func:`mmcl.runs.checkpoint.save_checkpoint`) of all rows logged so far.

        Each unit of a run, such as a strategy with a seed, has its own name. Units are trained one after the other.
        Write one after the last row of a unit, or that row is logged again on resume.

        Raises:
            CheckpointError: The file cannot be written.
        """
        if self._follows:
            return
        mark = self._rows.to_disk()  # a power failure must not lose rows that belong to the checkpoint
        self._checkpoints.write(name, state, mark)

    def restore(self, name: str) -> dict[str, Any] | None:
        """Return the state of a checkpoint, or None if it does not exist.

        Raises:
            CheckpointError: The checkpoint is damaged.
        """
        return self._checkpoints.read(name)

    def close(self, status: str | None = None) -> None:
        """Stop writing, record ``status`` if given, and unlock the folder for other processes."""
        self._stack.close()
        if self._follows:
            return
        try:
            mark = self._rows.to_disk() if self._rows.is_open else None
            self._rows.close()
            if self._tensorboard is not None:
                self._tensorboard.close()
            if status is not None:
                self._status.write(status, mark)
        finally:
            self._rows.close()
            if self._lock is not None:
                self._lock.release()
            self._tensorboard = self._lock = None

    def __enter__(self) -> Run:
        if not self._follows:
            self._stack.enter_context(noted_by(self._data.note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close("finished")
            return
        name = "" if kind.__module__.startswith("mmcl.") else f"{kind.__name__}: "
        stopped = issubclass(kind, KeyboardInterrupt) or signals.received() is not None
        status = "interrupted" if stopped else f"failed: {name}{' '.join(str(error).split())}"
        with suppress(RunError):  # probably a full disk, which `error` already reports
            self.close(status)

    # --- internals ---

    def _acquire(self) -> None:
        from filelock import FileLock, Timeout

        if self._lock is None:
            lock = FileLock(self.folder / ".lock")
            try:
                lock.acquire(blocking=False)
            except Timeout:
                raise RunError(
                    f"{self.folder} is in use by another process: wait until it ends, or stop it, then try again"
                ) from None
            except OSError as error:
                raise RunError(f"cannot write in {self.folder} ({error.strerror}): check its permissions") from None
            self._lock = lock

    def _start_writing(self) -> None:
        self._acquire()
        self._checkpoints.settings = self._settings_digest()
        self._rows.open()
        if self.config.get("tensorboard"):
            self._tensorboard = TensorBoardLog(self.folder / "tensorboard", self.metrics())

    def _settings_digest(self) -> str | None:
        settings = self.environment.get("settings")
        return None if settings is None else content_digest(settings)

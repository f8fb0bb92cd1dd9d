"""A run is a folder that can be resumed, compared and reported.

::

    config.yaml        every setting, as resolved
    environment.json   task, settings, command, versions, machine, commit, seeds; again for each time it was resumed
    data.json          which samples the data sets have that the run uses
    metrics.jsonl      one row a line, in the order of training
    checkpoints/       <name>.safetensors, and beside each the one before it
    status.json        running, finished, interrupted, or failed and why
    report.html        written at the end
    tensorboard/       if the config has `tensorboard: true`

What a result depends on carries a digest. JSON files and checkpoints have their own, config.yaml is compared with the
settings in environment.json, and checkpoints and status.json know the metrics. Folders of older versions of mmcl, whose
files lack these, are read unchecked.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel

from mmcl.config.model import dump_config
from mmcl.data.fingerprint import noted_by
from mmcl.errors import RunError
from mmcl.files import plain_yaml
from mmcl.files.atomic import folder_written_whole
from mmcl.files.plain_files import check_plain
from mmcl.files.sealed_json import content_digest, sealed, write_sealed
from mmcl.runs import signals
from mmcl.runs.checkpoints import RunCheckpoints
from mmcl.runs.data import RunData
from mmcl.runs.environment import describe_environment
from mmcl.runs.log import START, RowFile
from mmcl.runs.settings import read_environment, read_settings
from mmcl.runs.status import StatusFile
from mmcl.runs.tensorboard import TensorBoardLog, check_tensorboard

logger = logging.getLogger(__name__)

_FILES = ("config.yaml", "environment.json", "metrics.jsonl")
_FORMAT = 2  #: of the folder; 1 had no digests


class Run:
    """The folder of a run, for one process to write (:meth:`create`, :meth:`open`) and any to read (:meth:`read`).

    As a context manager a run that is written notes how it ended: finished, interrupted, or failed and why.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Any = None
        self._rows = RowFile(folder / "metrics.jsonl")
        self._checkpoints = RunCheckpoints(folder / "checkpoints")
        self._data = RunData(folder)
        self._status = StatusFile(folder / "status.json")
        self._tensorboard: TensorBoardLog | None = None
        self._follows = False
        self._stack = ExitStack()

    # --- three ways to one ---

    @classmethod
    def create(
        cls, task: str, config: BaseModel, folder: str | Path | None = None, *, config_name: str = "config"
    ) -> Run:
        """Make a new run's folder, by default ``runs/<task>/<config name>-<date>-<time>``.

        Raises:
            RunError: the folder is not empty, or cannot be written.
            ConfigError: the config asks for TensorBoard, which is not installed.
        """
        if getattr(config, "tensorboard", False):
            check_tensorboard()
        name = f"{config_name}-{datetime.now():%Y%m%d-%H%M%S}"
        wanted = Path(folder) if folder is not None else _free(Path("runs", task, name))
        text = dump_config(config)
        environment = {"format": _FORMAT, "task": task, "config": config_name, "seeds": getattr(config, "seeds", None)}
        environment |= {**describe_environment(), "resumed": [], "settings": plain_yaml.parse_yaml(text)[0]}
        try:
            with folder_written_whole(wanted) as filled:  # killed before its end, it looks like no run
                (filled / "checkpoints").mkdir()
                (filled / "metrics.jsonl").touch()
                (filled / "config.yaml").write_text(text, encoding="utf-8")
                (filled / "environment.json").write_text(sealed(environment), encoding="utf-8")
                (filled / "data.json").write_text(sealed({}), encoding="utf-8")
                (filled / "status.json").write_text(StatusFile.text("running", START), encoding="utf-8")
        except OSError as error:
            if wanted.is_dir() and any(wanted.iterdir()):
                hint = f", or go on with it: mmcl run --resume {wanted}" if (wanted / "config.yaml").exists() else ""
                raise RunError(f"{wanted} is not an empty folder: choose another with --folder{hint}") from None
            raise RunError(
                f"cannot make the folder {wanted} ({error.strerror}): choose another with --folder"
            ) from None
        run = cls(wanted)
        run._start_writing()
        return run

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Open a run to go on with it, from its last checkpoint: rows of metrics after that are dropped, to be redone.

        In place of a checkpoint that is damaged or lost the one before it is taken, with a warning.

        Raises:
            RunError: the folder is not a run, holds links, or is in use by another process; its settings, or metrics
                that belong to a checkpoint, were changed.
            CheckpointError: a checkpoint is damaged, and so is the one before it, if there is one.
        """
        run = cls.read(folder)
        check_plain(run.folder, shared=False)
        environment, _ = run.environment, run.config
        if environment.get("format", 1) != 1:
            run._data.check_is_there()
        run._acquire()
        try:
            for leftover in [*run.folder.glob(".*.tmp"), *run.folder.glob("checkpoints/.*")]:
                leftover.unlink(missing_ok=True)
            try:
                run._status.read()
            except RunError as error:
                logger.warning("%s", error)
            run._checkpoints.settings = run._settings_digest()
            found = run._checkpoints.recovery()
            for path, mark in found.marks.items():
                run._rows.check(mark, f"checkpoint {path} was written")
            mark = run._rows.marks([found.length])[found.length] or START
            run._checkpoints.mend(found)
            run._status.write("running", mark)  # before the cut, or the status would know more rows than there are
            run._rows.cut(mark.length)
            environment["resumed"].append(describe_environment())
            write_sealed(run.folder / "environment.json", environment)
            run._start_writing()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Open a run to look at it; another process may be writing it.

        Raises:
            RunError: the folder is not a run, or holds links, pipes or devices.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise RunError(f"there is no run folder {folder}: check the path (`mmcl run` prints it)")
        for name in _FILES:
            if not (folder / name).exists() and not (folder / name).is_symlink():
                raise RunError(f"{folder} is not a run: it has no {name}, expected a folder made by `mmcl run`")
        check_plain(folder)
        return cls(folder)

    @classmethod
    def follow(cls, folder: str | Path) -> Run:
        """Open a run that the first of several processes writes: what is logged and kept here is left to that one."""
        run = cls.read(folder)
        run._follows = True
        return run

    # --- what is in it ---

    @property
    def config(self) -> dict[str, Any]:
        """Every setting, as in ``config.yaml``.

        Raises:
            RunError: the file cannot be read, or says something else than when the run began.
        """
        return read_settings(self.folder)

    @property
    def environment(self) -> dict[str, Any]:
        """Task, config name, command, versions and machine, as in ``environment.json``.

        Raises:
            RunError: the file is missing or damaged, or lacks one of these.
        """
        return read_environment(self.folder)

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.environment["task"])

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted`` or ``failed: <why>``; a killed run still says ``running``.

        Raises:
            RunError: ``status.json`` is damaged.
        """
        return self._status.read().status

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the rows logged so far, those of one kind if it is given; a half-written last row is left out.

        Raises:
            RunError: a row before the last is not what was logged.
        """
        for attempt in (1, 2):
            try:
                status = self._status.read()
                if status.mark is not None:
                    self._rows.check(status.mark, f"status.json was written ({status.status})")
                break
            except RunError:
                if attempt == 2:  # the first time, another process may just have opened the run to go on with it
                    raise
        return self._rows.read(kind)

    # --- writing ---

    def log(self, kind: str, **values: Any) -> None:
        """Append a row to the metrics; it is in the file when this returns, for good with the next checkpoint.

        Raises:
            RunError: the run was opened for reading, or the disk is full.
        """
        if self._follows:
            return
        row = {"kind": kind, **values}
        self._rows.append(row)
        if self._tensorboard is not None:
            self._tensorboard.write(row)

    def checkpoint(self, name: str, state: Any) -> None:
        """Write a checkpoint (see :func:`mmcl.runs.checkpoint.save_checkpoint`); the rows logged so far belong to it.

        Units of a run (a strategy with a seed, say) have a name each and follow one another. Checkpoint after each
        epoch and once more after a unit's last row, or that row is logged again when the run is resumed.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self._follows:
            return
        mark = self._rows.to_disk()  # or a loss of power could keep the checkpoint and lose rows before it
        self._checkpoints.write(name, state, mark)

    def restore(self, name: str) -> Any:
        """Return the state of a checkpoint, or None if there is none yet.

        Raises:
            CheckpointError: it is damaged.
        """
        return self._checkpoints.read(name)

    def close(self, status: str | None = None) -> None:
        """Stop writing, and note how the run ended if ``status`` says so; other processes may write it then."""
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
        with suppress(RunError):  # a full disk, most likely, which is then what `error` is about
            self.close(status)

    # --- inside ---

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


def _free(folder: Path) -> Path:
    """``folder``, or with a number after it if there is one of that name already."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return folder if not folder.exists() else next(other for other in numbered if not other.exists())

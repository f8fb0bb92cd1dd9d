"""A run is a folder that can be resumed, compared and reported.

::

    config.yaml        every setting, as resolved
    environment.json   task, command, versions, machine, commit, seeds; the same again for each time it was resumed
    metrics.jsonl      one row a line, in the order of training
    checkpoints/       <name>.safetensors, and beside each the one before it
    status.json        running, finished, interrupted, or failed and why
    report.html        written at the end
    tensorboard/       if the config has `tensorboard: true`
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import BaseModel

from mmcl import plain_yaml
from mmcl.atomic import folder_written_whole, written_whole
from mmcl.config import dump_config
from mmcl.environment import describe_environment
from mmcl.errors import RunError
from mmcl.rows import RowFile
from mmcl.run_checkpoints import RunCheckpoints
from mmcl.tensorboard import TensorBoardLog, check_tensorboard


class Run:
    """The folder of a run, for one process to write (:meth:`create`, :meth:`open`) and any to read (:meth:`read`).

    As a context manager a run that is written notes how it ended: finished, interrupted, or failed and why.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: Any = None
        self._rows = RowFile(folder / "metrics.jsonl")
        self._checkpoints = RunCheckpoints(folder / "checkpoints")
        self._tensorboard: TensorBoardLog | None = None
        self._follows = False

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
        environment = {"task": task, "config": config_name, "seeds": getattr(config, "seeds", None)}
        environment |= {**describe_environment(), "resumed": []}
        try:
            with folder_written_whole(wanted) as filled:  # killed before its end, it looks like no run
                (filled / "checkpoints").mkdir()
                (filled / "metrics.jsonl").touch()
                (filled / "config.yaml").write_text(dump_config(config), encoding="utf-8")
                (filled / "environment.json").write_text(_json(environment), encoding="utf-8")
                (filled / "status.json").write_text(_json({"status": "running"}), encoding="utf-8")
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

        In place of a checkpoint that is damaged the one before it is taken, with a warning.

        Raises:
            RunError: the folder is not a run, is in use by another process, or its metrics were cut.
            CheckpointError: a checkpoint is damaged, and so is the one before it, if there is one.
        """
        run = cls.read(folder)
        run._acquire()
        try:
            for leftover in [*run.folder.glob(".*.tmp"), *run.folder.glob("checkpoints/.*")]:
                leftover.unlink(missing_ok=True)
            run._rows.cut(run._checkpoints.mend())
            environment = run.environment
            environment["resumed"].append(describe_environment())
            run._write_json("environment.json", environment)
            run._set_status("running")
            run._start_writing()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Open a run to look at it; another process may be writing it.

        Raises:
            RunError: the folder is not a run.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise RunError(f"there is no run folder {folder}: check the path (`mmcl run` prints it)")
        for name in ("config.yaml", "environment.json", "metrics.jsonl"):
            if not (folder / name).is_file():
                raise RunError(f"{folder} is not a run: it has no {name}, expected a folder made by `mmcl run`")
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
        """Every setting, as in ``config.yaml``."""
        data, _ = plain_yaml.parse((self.folder / "config.yaml").read_text(encoding="utf-8"))
        return data

    @property
    def environment(self) -> dict[str, Any]:
        """Task, config name, command, versions and machine, as in ``environment.json``."""
        return self._read_json("environment.json")

    @property
    def task(self) -> str:
        """The name of the task."""
        return str(self.environment["task"])

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``interrupted`` or ``failed: <why>``; a killed run still says ``running``."""
        return str(self._read_json("status.json")["status"]) if (self.folder / "status.json").exists() else "unknown"

    def metrics(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Return the rows logged so far, those of one kind if it is given; a half-written last row is left out.

        Raises:
            RunError: a row before the last is not what was logged.
        """
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
        """Write a checkpoint (see :func:`mmcl.checkpoint.save_checkpoint`); the rows logged so far belong to it.

        Units of a run (a strategy with a seed, say) have a name each and follow one another. Checkpoint after each
        epoch and once more after a unit's last row, or that row is logged again when the run is resumed.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self._follows:
            return
        length = self._rows.to_disk()  # or a loss of power could keep the checkpoint and lose rows before it
        self._checkpoints.write(name, state, length)

    def restore(self, name: str) -> Any:
        """Return the state of a checkpoint, or None if there is none yet.

        Raises:
            CheckpointError: it is damaged.
        """
        return self._checkpoints.read(name)

    def close(self, status: str | None = None) -> None:
        """Stop writing, and note how the run ended if ``status`` says so; other processes may write it then."""
        if self._follows:
            return
        try:
            self._rows.close()
            if self._tensorboard is not None:
                self._tensorboard.close()
            if status is not None:
                self._set_status(status)
        finally:
            if self._lock is not None:
                self._lock.release()
            self._tensorboard = self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close("finished")
            return
        name = "" if kind is None or kind.__module__.startswith("mmcl.") else f"{kind.__name__}: "
        status = "interrupted" if kind is KeyboardInterrupt else f"failed: {name}{' '.join(str(error).split())}"
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
        self._rows.open()
        if self.config.get("tensorboard"):
            self._tensorboard = TensorBoardLog(self.folder / "tensorboard", self.metrics())

    def _set_status(self, status: str) -> None:
        self._write_json("status.json", {"status": status})

    def _write_json(self, name: str, value: Any) -> None:
        try:
            with written_whole(self.folder / name) as temporary:
                temporary.write_text(_json(value), encoding="utf-8")
        except OSError as error:
            raise RunError(
                f"cannot write {self.folder / name} ({error.strerror}): make room, then `mmcl run "
                f"--resume {self.folder}`"
            ) from None

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self.folder / name} ({error}): expected what `mmcl run` wrote") from None


def _free(folder: Path) -> Path:
    """``folder``, or with a number after it if there is one of that name already."""
    numbered = (folder.with_name(f"{folder.name}-{number}") for number in count(2))
    return folder if not folder.exists() else next(other for other in numbered if not other.exists())


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"

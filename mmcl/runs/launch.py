"""Run a task in one or more processes; the main process writes the run's folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import ModuleType

from pydantic import BaseModel

from mmcl import distributed
from mmcl.errors import ProcessError
from mmcl.runs.run import Run


def run_task(
    module: ModuleType, config: BaseModel, make: Callable[[], Run], announce: Callable[[Run], None]
) -> Run | None:
    """Run a task. Returns the run in the main process and None in the others.

    Args:
        module: Module of the task.
        config: The resolved config; ``devices``, ``nodes`` and ``device`` set the number of processes.
        make: Creates or opens the run. Called in the main process only.
        announce: Called with the run in the main process before training.

    Raises:
        ProcessError: Another process has ended or timed out. The run can be resumed.
    """
    devices, nodes = getattr(config, "devices", 1), getattr(config, "nodes", 1)
    if devices * nodes > 1:
        import avalanche.training  # noqa: F401  creates loggers on import, which fails in other processes after launch
    distributed.launch(devices, nodes, getattr(config, "device", "cpu"))
    opened = _opened(make)
    if distributed.is_main():
        announce(opened)
    try:
        with opened:
            module.main(config, opened)
        first = distributed.is_main()
        distributed.leave()
    except Exception as error:
        if not distributed.peer_lost(error):
            raise
        if not distributed.is_main():
            if isinstance(error, distributed.LateError):
                raise  # the main process may be the one that hangs
            raise SystemExit(1) from None  # the main process reports the error
        reason = "timed out" if isinstance(error, distributed.LateError) else "ended before the run"
        raise ProcessError(
            f"one of {distributed.world_size()} processes {reason}, see its output above; "
            f"resume with: mmcl run --resume {opened.folder}"
        ) from error
    return opened if first else None


def _opened(make: Callable[[], Run]) -> Run:
    if not distributed.is_main():
        logging.getLogger("mmcl").setLevel(logging.ERROR)  # the main process warns
        folder = distributed.broadcast_object("")
        if not folder:
            raise SystemExit(1)
        return Run.follow(folder)
    try:
        opened = make()
    except BaseException:
        distributed.broadcast_object("")
        raise
    distributed.broadcast_object(str(opened.folder.absolute()))
    return opened

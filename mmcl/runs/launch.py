"""A task in as many processes as its config says: the first writes the run's folder, the others follow it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from mmcl import distributed
from mmcl.errors import ProcessError
from mmcl.runs.run import Run


def run_task(module: Any, config: Any, make: Callable[[], Run], announce: Callable[[Run], None]) -> Run | None:
    """Run a task in a folder, and return the run in the first process, None in the others.

    Args:
        module: of the task.
        config: as resolved; its ``devices``, ``nodes`` and ``device`` say how many processes there are.
        make: creates or opens the run's folder, in the first process alone.
        announce: is called with the run before it begins.

    Raises:
        ProcessError: another process has ended or does not arrive; what was trained so far is in the folder.
    """
    devices, nodes = getattr(config, "devices", 1), getattr(config, "nodes", 1)
    if devices * nodes > 1:
        import avalanche.training  # noqa: F401  makes loggers as it is loaded, which it refuses in further processes
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
                raise  # it may be the first one that is stuck
            raise SystemExit(1) from None  # the first one tells
        what = "did not arrive in time" if isinstance(error, distributed.LateError) else "has ended before the run did"
        raise ProcessError(
            f"one of {distributed.world_size()} processes {what}, and what it said stands above; "
            f"go on with: mmcl run --resume {opened.folder}"
        ) from error
    return opened if first else None


def _opened(make: Callable[[], Run]) -> Run:
    if not distributed.is_main():
        logging.getLogger("mmcl").setLevel(logging.ERROR)  # the first one warns
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

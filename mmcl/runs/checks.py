"""Checks of what a run needs from this machine: devices, optional packages, and folders that can be written."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

from mmcl.config.checks import Checks
from mmcl.config.devices import check_devices
from mmcl.errors import RunError
from mmcl.files.cache_dir import cache_dir
from mmcl.runs.folder import check_empty
from mmcl.runs.tensorboard import check_tensorboard


def check_run(checks: Checks, task: str, config: BaseModel, folder: Path | None = None) -> None:
    """Check devices, TensorBoard, and the folders of the run and of the cache.

    Args:
        checks: collects the faults.
        task: name of the task.
        config: resolved config.
        folder: folder of the run; None for one in ``runs/<task>``.
    """
    devices, nodes, device = (getattr(config, name, 1) for name in ("devices", "nodes", "device"))
    checks.attempt("device", lambda: check_devices(devices, nodes, str(device)))
    if getattr(config, "tensorboard", False):
        checks.attempt("tensorboard", check_tensorboard)
    checks.attempt("--folder", lambda: check_writable(folder or Path("runs", task), "choose another with --folder"))
    if folder is not None:
        checks.attempt("--folder", lambda: check_empty(folder))
    checks.attempt("MMCL_CACHE", lambda: check_writable(cache_dir(), "set MMCL_CACHE to another folder"))


def check_writable(folder: Path, otherwise: str) -> None:
    """Check that a folder exists or can be created, and that files can be written there.

    Args:
        folder: the folder.
        otherwise: next step, for the error.

    Raises:
        RunError: it cannot be written.
    """
    place = folder.expanduser().absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise RunError(f"{folder} cannot be written, {place} is not a folder: {otherwise}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise RunError(f"{folder} cannot be written (no permission to write in {place}): {otherwise}")

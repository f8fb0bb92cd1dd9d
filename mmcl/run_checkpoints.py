"""The checkpoints of a run: of each unit the last one, and the one before, which is taken where the last is damaged."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from mmcl.errors import CheckpointError

logger = logging.getLogger(__name__)

_SUFFIX, _BEFORE = ".safetensors", ".before"


class RunCheckpoints:
    """Files ``<unit>.safetensors`` in a folder; beside each, as ``<unit>.safetensors.before``, what it was before.

    Each holds a state and how long the run's metrics were then.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, unit: str) -> Path:
        """Return where the last checkpoint of a unit is."""
        return self.folder / f"{unit}{_SUFFIX}"

    def write(self, unit: str, state: Any, metrics_bytes: int) -> None:
        """Write a checkpoint; the one that was there stays as the one before.

        Raises:
            CheckpointError: it cannot be written; what was there is unharmed.
        """
        from mmcl.checkpoint import save_checkpoint

        path = self.path(unit)
        kept = path.with_name(f".{path.name}.{os.getpid()}.kept")
        with suppress(OSError):  # there is none, or a file system without links, which keeps one
            os.link(path, kept)
        try:
            save_checkpoint(path, {"metrics_bytes": metrics_bytes, "state": state})
            if kept.exists():
                os.replace(kept, before(path))
        finally:
            kept.unlink(missing_ok=True)

    def read(self, unit: str) -> Any:
        """Return the state of a unit's checkpoint, or None if there is none yet.

        Raises:
            CheckpointError: it is damaged.
        """
        from mmcl.checkpoint import load_checkpoint

        path = self.path(unit)
        return load_checkpoint(path)["state"] if path.exists() else None

    def mend(self) -> int:
        """Put the one before in place of each that is damaged, with a warning; return the longest length of metrics.

        Units of training follow one another, so the longest length that a checkpoint knows is the last one's. What came
        after a checkpoint that is taken in another's place is done again, lest rows be logged twice: checkpoints of
        units that were trained later are removed, with a warning.

        Raises:
            CheckpointError: a checkpoint is damaged, and there is none before, or that is damaged as well.
        """
        from mmcl.checkpoint import load_checkpoint

        lengths, damaged = {}, []
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            try:
                lengths[path] = load_checkpoint(path)["metrics_bytes"]
            except CheckpointError:
                if not before(path).is_file():
                    raise
                lengths[path] = load_checkpoint(before(path))["metrics_bytes"]
                damaged.append(path)
        end = min((lengths[path] for path in damaged), default=None)
        for later in [path for path, length in lengths.items() if end is not None and length > end]:
            logger.warning("checkpoint %s was written after a damaged one was: what it holds is done again", later)
            for each in (later, before(later)):
                each.unlink(missing_ok=True)
            del lengths[later]
        for path in damaged:
            if path in lengths:  # last, or a process that is killed here would not know what came later
                logger.warning("checkpoint %s is damaged: going on from the one before it", path)
                os.replace(before(path), path)
        return max(lengths.values(), default=0)


def before(path: Path) -> Path:
    """Return where the checkpoint before is kept."""
    return path.with_name(path.name + _BEFORE)

"""The checkpoints of a run: the latest and the previous one of each unit, and recovery from damaged ones."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from mmcl.errors import CheckpointError
from mmcl.runs.log import Mark

logger = logging.getLogger(__name__)

_SUFFIX, _PREVIOUS = ".safetensors", ".before"


class _Checkpoint(NamedTuple):
    """The content of a file: the metrics that belong to it, the bytes of metrics of all units, and the state."""

    mark: Mark
    units: dict[str, int]
    state: Any


class Recovery(NamedTuple):
    """The checkpoints to resume from, and the changes of files this needs; see :meth:`RunCheckpoints.recovery`."""

    marks: dict[Path, Mark]  #: metrics of each checkpoint to resume from; later rows are removed
    removed: list[Path]  #: checkpoints to delete, the latest first
    restored: list[Path]  #: checkpoints to replace by the previous one

    @property
    def length(self) -> int:
        """The number of bytes of metrics that belong to the checkpoints."""
        return max((mark.length for mark in self.marks.values()), default=0)


class RunCheckpoints:
    """The files ``<unit>.safetensors`` in a folder, and the previous one of each, ``<unit>.safetensors.before``.

    A unit is a part of the run with its own checkpoint, such as a strategy with a seed. Each file has a state, its
    unit, the digest of the settings, the metrics logged so far and the progress of all units. Missing, swapped and
    outdated files are detected.

    Args:
        folder: Folder of the files.
        settings: Digest of the run's settings; None accepts checkpoints of any settings.
    """

    def __init__(self, folder: Path, settings: str | None = None) -> None:
        self.folder = folder
        self.settings = settings
        self._units: dict[str, int] = {}  # bytes of metrics at the latest checkpoint of each unit

    def path(self, unit: str) -> Path:
        """Return the path of the latest checkpoint of a unit."""
        return self.folder / f"{unit}{_SUFFIX}"

    def write(self, unit: str, state: object, mark: Mark) -> None:
        """Write a checkpoint and keep the latest one as the previous one.

        Args:
            unit: Name of the unit.
            state: See :func:`mmcl.runs.checkpoint.save_checkpoint`.
            mark: The metrics that belong to the checkpoint.

        Raises:
            CheckpointError: The file cannot be written; existing files are intact.
        """
        from mmcl.runs.checkpoint import save_checkpoint

        path = self.path(unit)
        kept = path.with_name(f".{path.name}.{os.getpid()}.kept")
        units = {**self._units, unit: mark.length}
        content = {
            "unit": unit,
            "settings": self.settings,
            "metrics_bytes": mark.length,
            "metrics_digest": mark.digest,
            "units": units,
            "state": state,
        }
        with suppress(OSError):  # no checkpoint yet, or a file system without links, where only the latest is kept
            os.link(path, kept)
        try:
            save_checkpoint(path, content)
            if kept.exists():
                os.replace(kept, previous_path(path))
            self._units = units
        finally:
            kept.unlink(missing_ok=True)

    def read(self, unit: str) -> dict[str, Any] | None:
        """Return the state of a unit's checkpoint, or None if it has none.

        Raises:
            CheckpointError: The file is damaged, or of another unit or run.
        """
        path = self.path(unit)
        return self._load(path, unit).state if path.exists() else None

    def recovery(self) -> Recovery:
        """Find the checkpoints to resume from, without changing files.

        Usually these are the latest ones. A checkpoint that is damaged, missing, swapped or outdated is replaced by the
        previous one; a unit without either starts again. Units are trained one after the other, so all units after that
        point are trained again, which avoids duplicate rows.

        Raises:
            CheckpointError: A checkpoint is damaged, and the previous one is damaged or missing.
        """
        latest, faults = self._latest()
        lengths = _lengths(latest)
        have_previous = {
            path.name.removesuffix(_SUFFIX + _PREVIOUS) for path in self.folder.glob(f"*{_SUFFIX}{_PREVIOUS}")
        }
        units = sorted({*lengths, *faults, *have_previous})
        lost = [unit for unit in units if unit not in latest or latest[unit].mark.length < lengths[unit]]
        previous = {unit: self._previous(unit, faults.get(unit)) for unit in lost}
        for unit, checkpoint in previous.items():
            if checkpoint is not None:
                lengths[unit] = max(checkpoint.mark.length, lengths.get(unit, 0))
        end = max(lengths.values(), default=0)
        for unit in lost:
            known = [each.mark.length for each in (latest.get(unit), previous[unit]) if each is not None]
            earlier = [length for name, length in lengths.items() if name != unit and length < lengths[unit]]
            end = min(end, max(known or earlier, default=0))

        recovery = Recovery({}, [], [])
        for unit in sorted(lengths, key=lambda unit: -lengths[unit]):
            path = self.path(unit)
            if unit in latest and latest[unit].mark.length <= end:
                recovery.marks[path] = latest[unit].mark
                continue
            checkpoint = previous[unit] if unit in previous else self._previous(unit, None)
            if checkpoint is not None and checkpoint.mark.length <= end:
                recovery.marks[previous_path(path)] = checkpoint.mark
                recovery.restored.append(path)
            elif path.exists() or previous_path(path).exists():
                recovery.removed.append(path)
        return recovery

    def apply(self, recovery: Recovery) -> None:
        """Change files as :meth:`recovery` says, with a warning for each. It can be repeated after an interruption."""
        for path in recovery.removed:
            logger.warning("checkpoint %s follows a lost or damaged one: its unit is trained again", path)
            path.unlink(missing_ok=True)
            previous_path(path).unlink(missing_ok=True)
        for path in recovery.restored:  # last, because these files tell which units came later
            logger.warning("checkpoint %s is damaged or lost: resuming from the previous one", path)
            os.replace(previous_path(path), path)
        self._units = {path.name.partition(_SUFFIX)[0]: mark.length for path, mark in recovery.marks.items()}

    def _latest(self) -> tuple[dict[str, _Checkpoint], dict[str, CheckpointError]]:
        """Read the latest checkpoint of each unit without its state; return the errors of damaged ones as well."""
        latest: dict[str, _Checkpoint] = {}
        faults: dict[str, CheckpointError] = {}
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            unit = path.name.removesuffix(_SUFFIX)
            try:
                latest[unit] = self._load(path, unit)._replace(state=None)
            except CheckpointError as error:
                faults[unit] = error
        return latest, faults

    def _previous(self, unit: str, fault: CheckpointError | None) -> _Checkpoint | None:
        """Read the previous checkpoint without its state; without one, raise ``fault`` if given, or return None."""
        path = previous_path(self.path(unit))
        if path.exists():
            return self._load(path, unit)._replace(state=None)
        if fault is not None:
            raise fault
        return None

    def _load(self, path: Path, unit: str) -> _Checkpoint:
        from mmcl.runs.checkpoint import load_checkpoint

        content = load_checkpoint(path)
        if not isinstance(content, dict) or "state" not in content or type(content.get("metrics_bytes")) is not int:
            raise CheckpointError(f"{path} is not a checkpoint of a run: restore the file from a copy, or delete it")
        if content.get("unit", unit) != unit:
            raise CheckpointError(
                f"{path} is the checkpoint of '{content['unit']}', expected '{unit}': restore the file's name, or "
                "delete it and resume"
            )
        if self.settings is not None and content.get("settings") not in (None, self.settings):
            raise CheckpointError(
                f"{path} was written with other settings than this run has: restore the file from a copy, or delete it "
                "and resume"
            )
        mark = Mark(content["metrics_bytes"], content.get("metrics_digest"))
        return _Checkpoint(mark, content.get("units", {}), content["state"])


def previous_path(path: Path) -> Path:
    """Return the path of the previous checkpoint, given that of the latest one."""
    return path.with_name(path.name + _PREVIOUS)


def _lengths(latest: Mapping[str, _Checkpoint]) -> dict[str, int]:
    """Return the bytes of metrics at the latest checkpoint of each unit, according to all checkpoints."""
    lengths: dict[str, int] = {}
    for own, checkpoint in latest.items():
        for unit, length in {**checkpoint.units, own: checkpoint.mark.length}.items():
            lengths[unit] = max(length, lengths.get(unit, 0))
    return lengths


def unit_name(strategy: str, seed: int) -> str:
    """Return the name of the unit of one strategy and seed.

    >>> unit_name("replay", 0)
    'replay-seed0'
    """
    return f"{strategy}-seed{seed}"

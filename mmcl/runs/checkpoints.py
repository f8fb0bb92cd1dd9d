"""The checkpoints of a run: of each unit the last one, and the one before, which is taken where the last is damaged."""

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

_SUFFIX, _BEFORE = ".safetensors", ".before"


class Recovery(NamedTuple):
    """What :meth:`RunCheckpoints.recovery` found: the checkpoints to go on from, and what to change for that."""

    marks: dict[Path, Mark]  #: of these checkpoints; what was logged after the last mark is done again
    removed: list[Path]  #: checkpoints that are later, the last first
    restored: list[Path]  #: checkpoints in whose place the one before is taken

    @property
    def length(self) -> int:
        """How many bytes of metrics belong to the checkpoints."""
        return max((mark.length for mark in self.marks.values()), default=0)


class RunCheckpoints:
    """Files ``<unit>.safetensors`` in a folder; beside each, as ``<unit>.safetensors.before``, what it was before.

    Each holds a state and says what it belongs to: its unit, the settings of the run, the metrics that were logged, and
    how far all units were. So a file that was lost, exchanged or replaced by an older one is noticed.

    Args:
        folder: of the files.
        settings: digest of the run's settings; None accepts checkpoints of any.
    """

    def __init__(self, folder: Path, settings: str | None = None) -> None:
        self.folder = folder
        self.settings = settings
        self._units: dict[str, int] = {}  # how long the metrics were at the last checkpoint of each unit

    def path(self, unit: str) -> Path:
        """Return where the last checkpoint of a unit is."""
        return self.folder / f"{unit}{_SUFFIX}"

    def write(self, unit: str, state: Any, mark: Mark) -> None:
        """Write a checkpoint; the one that was there stays as the one before.

        Args:
            unit: its name.
            state: see :func:`mmcl.runs.checkpoint.save_checkpoint`.
            mark: of the metrics that belong to it.

        Raises:
            CheckpointError: it cannot be written; what was there is unharmed.
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
        with suppress(OSError):  # there is none, or a file system without links, which keeps one
            os.link(path, kept)
        try:
            save_checkpoint(path, content)
            if kept.exists():
                os.replace(kept, before(path))
            self._units = units
        finally:
            kept.unlink(missing_ok=True)

    def read(self, unit: str) -> Any:
        """Return the state of a unit's checkpoint, or None if there is none yet.

        Raises:
            CheckpointError: it is damaged, or of another unit or run.
        """
        path = self.path(unit)
        return self._load(path, unit)["state"] if path.exists() else None

    def recovery(self) -> Recovery:
        """Find the checkpoints to go on from; nothing is changed.

        As a rule these are all. In place of one that is damaged, lost, exchanged or older than it was, the one before
        is taken; where that is lost as well, the unit begins again. Units of training follow one another: what was
        trained after that point is done again, lest rows be logged twice.

        Raises:
            CheckpointError: a checkpoint is damaged, and the one before is lost or damaged as well.
        """
        last, faults = self._last()
        lengths = _lengths(last)
        have_older = {path.name.removesuffix(_SUFFIX + _BEFORE) for path in self.folder.glob(f"*{_SUFFIX}{_BEFORE}")}
        units = sorted({*lengths, *faults, *have_older})
        lost = [unit for unit in units if unit not in last or _length(last[unit]) < lengths[unit]]
        older = {unit: self._before(unit, faults.get(unit)) for unit in lost}
        for unit, content in older.items():
            if content is not None:
                lengths[unit] = max(_length(content), lengths.get(unit, 0))
        end = max(lengths.values(), default=0)
        for unit in lost:
            known = [_length(each) for each in (last.get(unit), older[unit]) if each is not None]
            earlier = [length for name, length in lengths.items() if name != unit and length < lengths[unit]]
            end = min(end, max(known or earlier, default=0))

        found = Recovery({}, [], [])
        for unit in sorted(lengths, key=lambda unit: -lengths[unit]):
            path = self.path(unit)
            if unit in last and _length(last[unit]) <= end:
                found.marks[path] = _mark(last[unit])
                continue
            content = older[unit] if unit in older else self._before(unit, None)
            if content is not None and _length(content) <= end:
                found.marks[before(path)] = _mark(content)
                found.restored.append(path)
            elif path.exists() or before(path).exists():
                found.removed.append(path)
        return found

    def mend(self, found: Recovery) -> None:
        """Do what :meth:`recovery` found, with a warning for each file. A process killed in between can do it again."""
        for path in found.removed:
            logger.warning("checkpoint %s was written after one that was lost or damaged: its training is redone", path)
            path.unlink(missing_ok=True)
            before(path).unlink(missing_ok=True)
        for path in found.restored:  # last, or a process that is killed here would not know what came later
            logger.warning("checkpoint %s is damaged or lost: going on from the one before it", path)
            os.replace(before(path), path)
        self._units = {path.name.partition(_SUFFIX)[0]: mark.length for path, mark in found.marks.items()}

    def _last(self) -> tuple[dict[str, dict[str, Any]], dict[str, CheckpointError]]:
        """The last checkpoint of each unit that can be read, and what is wrong with the others."""
        last: dict[str, dict[str, Any]] = {}
        faults: dict[str, CheckpointError] = {}
        for path in sorted(self.folder.glob(f"*{_SUFFIX}")):
            unit = path.name.removesuffix(_SUFFIX)
            try:
                last[unit] = {name: value for name, value in self._load(path, unit).items() if name != "state"}
            except CheckpointError as error:
                faults[unit] = error
        return last, faults

    def _before(self, unit: str, fault: CheckpointError | None) -> dict[str, Any] | None:
        """The checkpoint before, None if there is none; raises what is wrong with both where neither can be read."""
        path = before(self.path(unit))
        if path.exists():
            return {name: value for name, value in self._load(path, unit).items() if name != "state"}
        if fault is not None:
            raise fault
        return None

    def _load(self, path: Path, unit: str) -> dict[str, Any]:
        from mmcl.runs.checkpoint import load_checkpoint

        content = load_checkpoint(path)
        if not isinstance(content, dict) or "state" not in content or type(content.get("metrics_bytes")) is not int:
            raise CheckpointError(f"{path} is not a checkpoint of a run: put the file of this run back, or delete it")
        if content.get("unit", unit) != unit:
            raise CheckpointError(
                f"{path} holds the checkpoint of '{content['unit']}', expected that of '{unit}': put the file back "
                "under its own name, or delete it and resume"
            )
        if self.settings is not None and content.get("settings") not in (None, self.settings):
            raise CheckpointError(
                f"{path} was written with other settings than those of this run: put the file of this run back, or "
                "delete it and resume"
            )
        return content


def before(path: Path) -> Path:
    """Return where the checkpoint before is kept."""
    return path.with_name(path.name + _BEFORE)


def _length(content: Mapping[str, Any]) -> int:
    length: int = content["metrics_bytes"]
    return length


def _mark(content: Mapping[str, Any]) -> Mark:
    return Mark(_length(content), content.get("metrics_digest"))


def _lengths(last: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """How long the metrics were at the last checkpoint of each unit, as far as any checkpoint knows."""
    lengths: dict[str, int] = {}
    for own, content in last.items():
        for unit, length in {**content.get("units", {}), own: _length(content)}.items():
            lengths[unit] = max(length, lengths.get(unit, 0))
    return lengths


def unit_name(strategy: str, seed: int) -> str:
    """Name the checkpoint of one strategy trained with one seed.

    >>> unit_name("replay", 0)
    'replay-seed0'
    """
    return f"{strategy}-seed{seed}"

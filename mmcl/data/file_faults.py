"""Faults of files and annotations, as `mmcl data check` collects them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mmcl.data.base import SILENCE
from mmcl.errors import AudioError, MissingDataError
from mmcl.text.escape import encodable


@dataclass(frozen=True)
class FileFault:
    """A file or annotation that cannot be used, or with ``warning`` one that is usable but suspicious."""

    path: Path
    reason: str
    warning: bool = False


def examined_file(path: Path, where: str = "") -> tuple[list[FileFault], float | None]:
    """Decode a recording; return its faults and its seconds, None if it cannot be decoded.

    Args:
        path: the recording.
        where: words that say where it is listed, for errors.
    """
    from mmcl.data.audio import examine

    try:
        found = examine(path)
    except (AudioError, MissingDataError) as error:
        listed = f" ({where})" if where else ""
        return [FileFault(path, str(error).removeprefix(f"{encodable(str(path))} ") + listed)], None
    remarks = [*found.warnings, *found.notes]
    peak = float(abs(found.waveform - found.waveform.mean()).max())
    if peak < SILENCE:
        remarks.append(f"is silent: its loudest sample is {peak:.2g}")
    return [FileFault(path, remark, warning=True) for remark in remarks], len(found.waveform) / found.rate


@contextmanager
def logged_faults(faults: list[FileFault], path: Path) -> Iterator[None]:
    """Collect warnings that loaders log, instead of showing them once per split."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: faults.append(FileFault(path, record.getMessage(), warning=True))  # type: ignore[method-assign]
    loader_log = logging.getLogger("mmcl")  # parent of all loggers of loaders and readers
    propagate = loader_log.propagate
    loader_log.addHandler(handler)
    loader_log.propagate = False
    try:
        yield
    finally:
        loader_log.removeHandler(handler)
        loader_log.propagate = propagate

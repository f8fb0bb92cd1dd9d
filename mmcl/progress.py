"""Progress of long operations: bars in a terminal, plain lines in a log file."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmcl import distributed
from mmcl.text.escape import printable, rich_text

_PAUSE = 1.0  # seconds between two lines of an operation


class _Description(ProgressColumn):
    """The description of a bar: names of runs and data, not parsed as markup."""

    def render(self, task: Task) -> Text:
        return rich_text(task.description)


class _Note(ProgressColumn):
    """What the operation reports about itself, such as the loss."""

    def render(self, task: Task) -> Text:
        return rich_text(task.fields.get("note", ""))


class LineProgress(Progress):
    """Progress as plain lines on standard error: count, note, elapsed time and time left.

    Lines of an operation are at least a second apart, except its last line.
    """

    def __init__(self) -> None:
        super().__init__(console=Console(stderr=True, width=200, soft_wrap=True), disable=True)
        self._printed: dict[TaskID, float] = {}  # time of each operation's last line
        self._ended: set[TaskID] = set()  # operations whose last line is printed

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Update an operation, and print its state."""
        super().update(task_id, **changes)
        self._show(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance an operation, and print its state."""
        super().advance(task_id, advance)
        self._show(task_id)

    def stop(self) -> None:
        """Print how far unfinished operations came."""
        for task in self.tasks:
            if not task.finished and task.completed:
                self._print(task)
        super().stop()

    def _show(self, task_id: TaskID) -> None:
        """Print an operation if its last line is old enough, or once if it has finished."""
        now, task = time.monotonic(), self._tasks[task_id]
        if task.finished and task_id not in self._ended:
            self._ended.add(task_id)
            self._print(task)
        elif not task.finished and now - self._printed.setdefault(task_id, now) >= _PAUSE:
            self._printed[task_id] = now
            self._print(task)

    def _print(self, task: Task) -> None:
        total = "" if task.total is None else f"/{_count(task.total)}"
        parts = [f"{task.description}: {_count(task.completed)}{total}", task.fields.get("note", "")]
        parts += [f"{name} {_clock(value)}" for name, value in (("after", task.elapsed), ("left", task.time_remaining))]
        self.console.print(printable(", ".join(filter(None, parts))), markup=False, highlight=False)


def _count(value: float) -> str:
    """Format a count: a whole number, or one decimal within an epoch.

    >>> _count(14000.0), _count(2.25)
    ('14000', '2.2')
    """
    return f"{value:.0f}" if value == round(value) else f"{value:.1f}"


def _clock(seconds: float | None) -> str:
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))


def progress_display(*, disable: bool = False) -> Progress:
    """Return a progress display on standard error with counts, elapsed time and remaining time.

    Without a terminal, as in a log file, it prints plain lines. The field ``note`` of a task is shown beside its count:
    ``progress.update(bar, completed=3, note="loss 0.53")``.

    >>> with progress_display(disable=True) as progress:
    ...     for _ in progress.track(range(3), description="counting"):
    ...         pass
    """
    console = Console(stderr=True)
    disable = disable or not distributed.is_main()
    if not (disable or console.is_terminal or console.is_jupyter):
        return LineProgress()
    return Progress(
        _Description(),
        BarColumn(),
        MofNCompleteColumn(),
        _Note(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=disable,
    )

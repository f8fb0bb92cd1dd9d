"""Progress bars for all long operations."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mmcl import distributed
from mmcl.text.escape import rich_text


class _Description(ProgressColumn):
    """The description of a bar: names of runs and data, not parsed as markup."""

    def render(self, task: Task) -> Text:
        return rich_text(task.description)


def progress_display(*, disable: bool = False) -> Progress:
    """Return a progress display on standard error with counts, elapsed time and remaining time.

    >>> with progress_display(disable=True) as progress:
    ...     for _ in progress.track(range(3), description="counting"):
    ...         pass
    """
    return Progress(
        _Description(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=disable or not distributed.is_main(),
    )

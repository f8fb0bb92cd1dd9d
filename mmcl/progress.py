"""The progress display that all long work shares."""

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
    """What a bar counts: names of runs and data, of which none is markup."""

    def render(self, task: Task) -> Text:
        return rich_text(task.description)


def progress_display(*, disable: bool = False) -> Progress:
    """Return a display of bars on standard error, with what is done, the time taken and the time left.

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

"""Terminal output and log records, with control characters escaped."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from mmcl.text.escape import printable, rich_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_NARROWEST = 24  # characters of a column of long text


def say(text: object, *, colour: str | None = None, err: bool = False, lines: bool = False, end: str = "\n") -> None:
    """Print text with control characters escaped.

    Args:
        text: The text.
        colour: Colour of the text, if the terminal supports it.
        err: Print to standard error.
        lines: Keep line breaks.
        end: Printed after the text.
    """
    typer.secho(printable(text, lines=lines) + end, fg=colour, err=err, nl=False)


def console() -> Console:
    """Return a console for tables. Files and pipes get a width of 200 columns."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=200)


def print_table(rows: Sequence[Sequence[Text]], headings: Sequence[str] = (), *, wrapped: int = -1) -> None:
    """Print a table in which no cell is cut.

    If the table does not fit into the terminal, each row becomes its first cell, and below it the others, indented.

    Args:
        rows: The cells of each row.
        headings: The heading of each column; none for a table without headings.
        wrapped: Column of long text, which may take several lines.
    """
    from rich.padding import Padding
    from rich.table import Table

    if not rows:
        return
    shown, columns = console(), list(zip(*rows, strict=True))
    sizes = [max(cell.cell_len for cell in column) for column in columns]
    sizes = [max(size, len(heading)) for size, heading in zip(sizes, headings or [""] * len(sizes), strict=True)]
    sizes[wrapped] = min(sizes[wrapped], _NARROWEST)
    if sum(sizes) + 2 * len(sizes) <= shown.width:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(headings))
        for number in range(len(columns)):
            is_wrapped = number == wrapped % len(columns)
            table.add_column(headings[number] if headings else "", no_wrap=not is_wrapped, overflow="fold")
        for row in rows:
            table.add_row(*row)
        shown.print(table)
        return
    for row in rows:
        long, others = row[wrapped], list(filter(None, row[1:]))
        lines = [others]
        if sum(cell.cell_len + 2 for cell in others) + 2 > shown.width:  # the long cell gets a line of its own
            lines = [[cell for cell in others if cell is not long], [long]]
        shown.print(row[0], overflow="fold")
        for line in filter(any, lines):
            shown.print(Padding(rich_text("  ").join(line), (0, 0, 0, 4)), overflow="fold")


class LogFormatter(logging.Formatter):
    """Escapes control characters and line breaks in log messages."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the message; line breaks of other libraries are kept."""
        return printable(super().formatMessage(record), lines=not record.name.startswith("mmcl"))

    def formatException(self, ei: object) -> str:
        """Format a traceback."""
        return printable(super().formatException(ei), lines=True)  # type: ignore[arg-type]


def prepare_terminal() -> None:
    """Escape control characters in log records, and characters that the terminal cannot encode."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:  # prints records without a handler
        logging.lastResort.setFormatter(LogFormatter())

"""Terminal output and log records, with control characters escaped."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

import typer

from mmcl.text.escape import printable

if TYPE_CHECKING:
    from rich.console import Console


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

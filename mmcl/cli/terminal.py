"""What mmcl prints: lines on the terminal and log records, in which nothing of a run or of data is a command."""

from __future__ import annotations

import io
import logging
import sys

import typer

from mmcl.text.escape import printable


def say(text: object, *, colour: str | None = None, err: bool = False, lines: bool = False, end: str = "\n") -> None:
    """Print a line.

    Args:
        text: what is said; control characters in it become escapes.
        colour: of the line, where the terminal has colours.
        err: print to standard error.
        lines: the text has several lines.
        end: what comes after it.
    """
    typer.secho(printable(text, lines=lines) + end, fg=colour, err=err, nl=False)


class LogFormatter(logging.Formatter):
    """Writes records whose message cannot pass for more than one line, nor command the terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the message; libraries other than mmcl may log several lines."""
        return printable(super().formatMessage(record), lines=not record.name.startswith("mmcl"))

    def formatException(self, ei: object) -> str:
        """Return a traceback."""
        return printable(super().formatException(ei), lines=True)  # type: ignore[arg-type]


def prepare_terminal() -> None:
    """Make what is logged safe to see, and have what the terminal cannot encode be escaped in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if logging.lastResort is not None:  # which prints what no handler takes
        logging.lastResort.setFormatter(LogFormatter())

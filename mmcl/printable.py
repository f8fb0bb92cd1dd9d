"""Names of files that are not UTF-8, shown with their bytes escaped, wherever text is written."""

from __future__ import annotations

import sys
from io import TextIOWrapper


def printable(text: str) -> str:
    r"""Return text that can be written everywhere: bytes that are not UTF-8 are escaped, the rest stays as it is.

    Python holds such bytes of a file's name as lone surrogates, which no encoder takes.

    >>> printable("caf\udce9.wav"), printable("café.wav")
    ('caf\\udce9.wav', 'café.wav')
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def print_everything() -> None:
    """Let stdout and stderr escape what they cannot encode, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

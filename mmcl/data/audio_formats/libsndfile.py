"""Streams of libsndfile that are read sequentially to the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from threading import Thread

import soundfile


class Stream(soundfile.SoundFile):
    """A file of libsndfile that is read forwards only.

    soundfile seeks after each read. That fails in files that cannot seek (GSM 6.10) or that do not know their length
    (FLAC from a pipe).
    """

    def seekable(self) -> bool:
        return False


def open_path(path: Path) -> Stream:
    """Open a file with any name; raises RuntimeError or TypeError as soundfile does."""
    # A name that is not UTF-8 must be passed as bytes; Windows has no such names.
    return Stream(str(path) if sys.platform == "win32" else os.fsencode(path))


def open_bytes(content: bytes | bytearray) -> Stream:
    """Open the content of a file."""
    return Stream(BytesIO(content))


@contextmanager
def piped(content: bytes | memoryview) -> Iterator[Stream]:
    """Open content through a pipe, for which libsndfile does not estimate a length that would end reading early."""
    source, sink = os.pipe()

    def feed() -> None:
        with suppress(BrokenPipeError), os.fdopen(sink, "wb") as file:  # the reader may stop early
            file.write(content)

    thread = Thread(target=feed, daemon=True)
    thread.start()
    try:
        with Stream(source, closefd=False) as stream:
            yield stream
    finally:
        os.close(source)
        thread.join()

"""JSON files of unknown origin: read within bounds, with errors that name the file and the line.

Every JSON file that a user could be handed is read here: annotations, model folders, run folders.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcl.errors import DataError, MissingDataError, MMCLError

MAX_BYTES = 1_000_000_000  #: the largest file that is read
_NAMES = {dict: "an object {...}", list: "a list [...]", str: "a string", int: "a whole number"}


def read_json(path: str | Path, expected: type = dict, *, error: type[MMCLError] = DataError) -> Any:
    """Read a JSON file in UTF-8.

    Args:
        path: the file.
        expected: type of the outermost value: ``dict``, ``list``, or ``object`` for any.
        error: type of the error to raise; a missing file raises MissingDataError where this is DataError.

    Raises:
        MissingDataError: there is no such file.
        DataError: the file is not JSON in UTF-8, is nested too deeply, or holds a value of another type.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels.json")
    >>> _ = path.write_text("[1, 2]")
    >>> read_json(path, list)
    [1, 2]
    """
    return parse_json(read_text(path, error=error), expected, where=str(path), error=error)


def read_json_lines(
    path: str | Path, expected: type = dict, *, error: type[MMCLError] = DataError
) -> Iterator[tuple[int, Any]]:
    """Yield line number and value of each line that is not blank; arguments and errors as :func:`read_json`."""
    # Not splitlines(), which also splits at characters that JSON allows within a string, such as U+2028.
    for number, line in enumerate(read_text(path, error=error).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, expected, where=f"{path} line {number}", error=error)


def parse_json(text: str | bytes, expected: type = dict, *, where: str, error: type[MMCLError] = DataError) -> Any:
    """Parse JSON text.

    Args:
        text: one JSON value.
        expected: type of the value: ``dict``, ``list``, or ``object`` for any.
        where: names the text in errors, such as ``"train.jsonl line 3"``.
        error: type of the error to raise.

    Raises:
        DataError: the text is not JSON, is nested too deeply, or is a value of another type.

    >>> parse_json("null", where="labels.json")
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: labels.json holds a NoneType, expected an object {...}
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise error(f"{where} is nested too deeply to be read: copy the file again from its source") from None
    except ValueError as fault:  # not JSON, not UTF-8, or a number of thousands of digits
        raise error(f"{where} is not JSON ({fault}): copy the file again from its source") from None
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise error(f"{where} holds a {type(value).__name__}, expected {_NAMES.get(expected, expected.__name__)}")
    return value


def read_text(path: str | Path, *, error: type[MMCLError] = DataError) -> str:
    """Read a text file in UTF-8, with or without a byte order mark; arguments and errors as :func:`read_json`."""
    path = Path(path)
    if not path.exists():
        missing = MissingDataError if error is DataError else error
        raise missing(f"there is no file {path}: check the path, or copy the folder again from its source")
    if not path.is_file():
        raise error(f"{path} is not a regular file, expected one: copy the folder again from its source")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise error(f"{path} has {size:,} bytes, expected at most {MAX_BYTES:,}: check that it is the right file")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as fault:
        line = fault.object.count(b"\n", 0, fault.start) + 1
        raise error(
            f"{path} line {line} is not UTF-8 ({fault.reason} 0x{fault.object[fault.start]:02x}): "
            "save the file in UTF-8"
        ) from None
    except OSError as fault:
        raise error(f"cannot read {path} ({fault.strerror}): check its permissions") from None

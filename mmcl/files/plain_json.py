"""Strict reading of JSON files: size and depth limits, and errors with file and line.

All JSON files from users are read here: annotations, model folders, run folders.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, overload

from mmcl.errors import DataError, MissingDataError, MMCLError
from mmcl.text.escape import encodable

MAX_BYTES = 1_000_000_000  #: largest file that is read
ValueT = TypeVar("ValueT")

_NAMES = {
    dict: "an object {...}",
    list: "a list [...]",
    str: "a string",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
_CORRECT = "correct it, or copy the file again"


@overload
def read_json(path: str | Path, *, error: type[MMCLError] = DataError) -> dict[str, Any]: ...


@overload
def read_json(path: str | Path, expected: type[ValueT], *, error: type[MMCLError] = DataError) -> ValueT: ...


def read_json(path: str | Path, expected: type = dict, *, error: type[MMCLError] = DataError) -> object:
    """Read a JSON file in UTF-8.

    Args:
        path: the file.
        expected: type of the outermost value: ``dict``, ``list``, or ``object`` for any.
        error: type of the error to raise; a missing file raises MissingDataError if this is DataError.

    Raises:
        MissingDataError: the file does not exist.
        DataError: the file is not JSON in UTF-8, is nested too deeply, or holds a value of another type.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels.json")
    >>> _ = path.write_text("[1, 2]")
    >>> read_json(path, list)
    [1, 2]
    """
    return parse_json(read_text(path, error=error), expected, where=str(path), error=error)


@overload
def read_json_lines(
    path: str | Path, *, error: type[MMCLError] = DataError
) -> Iterator[tuple[int, dict[str, Any]]]: ...


@overload
def read_json_lines(
    path: str | Path, expected: type[ValueT], *, error: type[MMCLError] = DataError
) -> Iterator[tuple[int, ValueT]]: ...


def read_json_lines(
    path: str | Path, expected: type = dict, *, error: type[MMCLError] = DataError
) -> Iterator[tuple[int, object]]:
    """Yield line number and value of each line that is not blank; arguments and errors as :func:`read_json`."""
    # Not splitlines(), which also splits at characters that JSON allows in strings, such as U+2028.
    for number, line in enumerate(read_text(path, error=error).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, expected, where=f"{path} line {number}", error=error)


@overload
def parse_json(text: str | bytes, *, where: str, error: type[MMCLError] = DataError) -> dict[str, Any]: ...


@overload
def parse_json(
    text: str | bytes, expected: type[ValueT], *, where: str, error: type[MMCLError] = DataError
) -> ValueT: ...


def parse_json(text: str | bytes, expected: type = dict, *, where: str, error: type[MMCLError] = DataError) -> object:
    """Parse JSON text.

    Args:
        text: one JSON value.
        expected: type of the value: ``dict``, ``list``, or ``object`` for any.
        where: names the text in errors, such as ``"train.jsonl line 3"``.
        error: type of the error to raise.

    Raises:
        DataError: the text is not JSON, is nested too deeply, repeats a key, or has a value of another type.

    >>> parse_json("null", where="labels.json")
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: labels.json holds a NoneType, expected an object {...}
    """
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
        if "\\ud" in _as_text(text).lower():  # a lone surrogate cannot be encoded
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise error(f"{where} is nested too deeply to be read: copy the file again from its source") from None
    except ValueError as fault:  # not JSON, not UTF-8, or a number with thousands of digits
        raise error(f"{where} is not JSON ({fault}): copy the file again from its source") from None
    if not isinstance(value, expected) or (expected is int and isinstance(value, bool)):
        raise error(f"{where} holds a {type(value).__name__}, expected {_NAMES.get(expected, expected.__name__)}")
    return value


def json_text(value: object, **options: Any) -> str:
    """Return a value as JSON that :func:`parse_json` reads; bytes of file names that are not UTF-8 are escaped.

    Args:
        value: a value that ``json.dumps`` accepts.
        **options: options of ``json.dumps``.

    >>> json_text({"caf\\udce9": 1}), parse_json(json_text(["caf\\udce9"]), list, where="x")
    ('{"caf\\\\\\\\udce9": 1}', ['caf\\\\udce9'])
    """
    text = json.dumps(value, **options)
    return json.dumps(_encodable(value), **options) if "\\ud" in text else text


def _encodable(value: object) -> Any:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {repeated!r} is there twice")
    return content


def _as_text(text: str | bytes) -> str:
    return text if isinstance(text, str) else text.decode("latin-1")


def member(
    row: dict[str, Any],
    name: str,
    expected: type[ValueT],
    *,
    where: str,
    of: type | None = None,
    error: type[MMCLError] = DataError,
) -> ValueT:
    """Return an entry of a JSON object after checking its type.

    Args:
        row: the object.
        name: key of the entry.
        expected: ``str``, ``int``, ``float`` (finite; integers are accepted), ``list``, ``dict`` or ``bool``.
        where: names the object in errors, such as ``"train.jsonl line 3"``.
        of: type of every item of a list.
        error: type of the error to raise.

    Raises:
        DataError: the entry is missing, or it or one of its items has another type.

    >>> member({"text": None}, "text", str, where="train.jsonl line 3")
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: train.jsonl line 3 has null for 'text', expected a string: correct it, or copy the file again
    """
    if name not in row:
        raise error(f"{where} has no '{name}', expected {_NAMES[expected]}: add it, or copy the file again")
    value = row[name]
    if not _is(value, expected):
        raise error(f"{where} has {_shown(value)} for '{name}', expected {_NAMES[expected]}: {_CORRECT}")
    if of is not None and (strange := [each for each in value if not _is(each, of)]):
        raise error(f"{where} has {_shown(strange[0])} in '{name}', expected {_NAMES[of]} each: {_CORRECT}")
    return value


def _is(value: object, expected: type) -> bool:
    if expected is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_text(path: str | Path, *, error: type[MMCLError] = DataError, newline: str | None = None) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Arguments and errors are those of :func:`read_json`; ``newline`` is that of ``open``.
    """
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
        with path.open(encoding="utf-8-sig", newline=newline) as file:
            return file.read()
    except UnicodeDecodeError as fault:
        line = fault.object.count(b"\n", 0, fault.start) + 1
        raise error(
            f"{path} line {line} is not UTF-8 ({fault.reason} 0x{fault.object[fault.start]:02x}): "
            "save the file in UTF-8"
        ) from None
    except OSError as fault:
        raise error(f"cannot read {path} ({fault.strerror}): check its permissions") from None

"""JSON files with a digest of their own content, which detects damage and later edits.

The digest covers the content, not the bytes: spaces and line breaks may differ.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mmcl.errors import MMCLError, RunError
from mmcl.files.atomic import written_whole
from mmcl.files.plain_json import json_text, parse_json, read_text

_KEY = "digest"


def sealed(content: dict[str, Any]) -> str:
    """Return an object as JSON text with its digest as the last key.

    >>> print(sealed({"status": "running"}), end="")
    {
      "status": "running",
      "digest": "367bfcb8a1a242a8"
    }
    """
    return json_text({**content, _KEY: content_digest(content)}, indent=2) + "\n"


def write_sealed(path: Path, content: dict[str, Any]) -> None:
    """Write an object to a file of a run's folder, atomically.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        with written_whole(path) as temporary:
            temporary.write_text(sealed(content), encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"cannot write {path} ({error.strerror}): make room, then `mmcl run --resume {path.parent}`"
        ) from None


def read_sealed(path: str | Path, *, error: type[MMCLError] = RunError) -> dict[str, Any]:
    """Read an object written by :func:`sealed`, and return it without its digest.

    Files of older versions have no digest and are read without a check.

    Args:
        path: the file.
        error: type of the error to raise.

    Raises:
        RunError: the file is missing or not a JSON object, or its content differs from what was written.
    """
    content: dict[str, Any] = parse_json(read_text(path, error=error), dict, where=str(path), error=error)
    digest = content.pop(_KEY, None)
    if digest is not None and digest != content_digest(content):
        raise error(f"{path} was changed after mmcl wrote it (its digest differs): restore it from a copy")
    return content


def content_digest(content: Any) -> str:
    """Return a digest of a JSON value that does not depend on the order of keys.

    >>> content_digest({"a": 1, "b": 2}) == content_digest({"b": 2, "a": 1})
    True
    """
    plain = json.loads(json_text(content))  # converts keys to strings, as reading does
    return blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=8).hexdigest()

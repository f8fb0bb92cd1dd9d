"""Cells of user tables: texts, entities, and recordings or images that are stored in the table itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from mmcl.data.base import Entity
from mmcl.errors import DataError
from mmcl.files.atomic import written_whole
from mmcl.files.cache_dir import cache_dir
from mmcl.files.plain_csv import numbers
from mmcl.files.plain_json import parse_json
from mmcl.files.records import Records
from mmcl.text.suggest import nearest
from mmcl.text.words import composed

_EXPECTED = "expected {TYPE: VALUE, ...}, or 'TYPE: VALUE; TYPE: VALUE'"


def text_in(table: Records, place: str, cells: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    """Return the text of a cell, without spaces around it; those of a label stay, because merging reports them.

    Raises:
        DataError: the cell is empty and ``empty`` is False, or it is a list, an object or bytes, or has a NUL byte.
    """
    cell = cells[name]
    if isinstance(cell, dict) and name in ("audio", "image"):  # datasets keeps paths in {"bytes": None, "path": PATH}
        cell = cell.get("path") or ""
    if not isinstance(cell, str) or "\0" in cell:
        shown = "a NUL byte" if isinstance(cell, str) else f"a {type(cell).__name__}"
        raise DataError(f"{table.path} has {shown} in {place}, column {name}, expected text: correct it")
    if not cell.strip() and not empty:
        raise DataError(f"{table.path} has an empty cell in {place}, column {name}: fill it in")
    return cell if name == "label" else cell.strip()


def number_in(table: Records, place: str, cells: Mapping[str, Any], name: str) -> float:
    """Return the number of a cell; raises DataError if the cell is empty, no number, or not finite."""
    (value,) = numbers([text_in(table, place, cells, name)], table.path, place, [name])
    return value


def check_target(table: Records, name: str, known: Sequence[str]) -> None:
    """Check the column of numbers to predict.

    Args:
        table: the table.
        name: the column.
        known: columns with another meaning; of these, ``label`` alone may hold numbers to predict.

    Raises:
        DataError: the table lacks the column, or the column has another meaning.
    """
    if name not in table.columns:
        raise DataError(
            f"{table.path} has no column {name}{nearest(name, table.columns)}, which target names: expected one of "
            f"{', '.join(table.columns)}"
        )
    if name in known and name != "label":
        raise DataError(f"target is {name}, a column with another meaning: name a column of numbers to predict")


def entities_in(cell: object, where: str) -> tuple[Entity, ...]:
    """Return the entities of a cell: ``"size: large; drink: latte"``, an object, or a list of objects.

    Args:
        cell: text, also of JSON; an object ``{type: value}``; or a list of ``{"type": ..., "value": ...}``.
        where: start of errors, with ``%s`` for the cell.

    Raises:
        DataError: the cell has another form.

    >>> entities_in("size: large; drink: latte", "a.csv has %s in line 2")
    (Entity(type='size', value='large'), Entity(type='drink', value='latte'))
    >>> entities_in([{"type": "size", "value": "large"}], "") == entities_in({"size": "large"}, "")
    True
    """
    fault = DataError(f"{where.replace('%s', f'{cell!r:.80}', 1)}, {_EXPECTED}: correct it")
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.startswith(("{", "[")):
            cell = parse_json(cell, object, where=where.replace("%s", "a value", 1))
        else:
            parts = [part.partition(":") for part in cell.split(";") if part.strip()]
            if not all(colon for _, colon, _ in parts):
                raise fault
            cell = [(kind, value) for kind, _, value in parts]
    if isinstance(cell, dict):
        cell = list(cell.items())
    if not isinstance(cell, list):
        raise fault
    pairs = [(each.get("type"), each.get("value")) if isinstance(each, dict) else each for each in cell]
    entities = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise fault
        kind, value = pair
        if not (isinstance(kind, str) and kind.strip() and isinstance(value, (str, int, float)) and str(value).strip()):
            raise fault
        entities.append(Entity(composed(kind.strip()), composed(str(value).strip())))
    return tuple(entities)


def stored_file(cell: object) -> Path | None:
    """Return a file with the bytes of a cell, written to the cache on first use; None if the cell has no bytes.

    The file is named by its content, so equal bytes share one file.

    Raises:
        DataError: the cache cannot be written.
    """
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if not isinstance(content, bytes) or not content:
        return None
    written = cell.get("path") if isinstance(cell, dict) else None
    suffix = Path(written).suffix if isinstance(written, str) else ""
    suffix = suffix if suffix[1:].isalnum() and len(suffix) < 8 else ""
    path = cache_dir() / "embedded" / f"{blake2b(content, digest_size=16).hexdigest()}{suffix.lower()}"
    try:
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as temporary:
                temporary.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error.strerror}), a recording or image of the table: set MMCL_CACHE to a folder "
            "with space"
        ) from None
    return path

"""Reading of Parquet files and of folders that Hugging Face ``datasets`` saved, through pyarrow (``mmcl[parquet]``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mmcl.errors import DataError, MissingDataError
from mmcl.files.plain_json import MAX_BYTES, member, read_json

SAVED = "state.json"  #: file of a folder of ``Dataset.save_to_disk``
SAVED_SPLITS = "dataset_dict.json"  #: file of a folder of ``DatasetDict.save_to_disk``


def read_parquet(path: Path) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the columns and the rows of a Parquet file; class labels of Hugging Face become their names.

    Raises:
        MissingDataError: the file does not exist, or pyarrow is not installed.
        DataError: the file is not Parquet, or is too large.
    """
    parquet = _pyarrow("pyarrow.parquet", path)
    if not path.is_file():
        raise MissingDataError(f"there is no file {path}: check the path")
    with _readable(path):
        file = parquet.ParquetFile(path)
        groups = (file.metadata.row_group(number) for number in range(file.metadata.num_row_groups))
        _check_size(path, sum(group.total_byte_size for group in groups))
        return _rows(file.read())


def read_saved(folder: Path) -> dict[str, tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """Return the columns and rows of each split of a folder written by ``save_to_disk``; a single one is named "".

    Only Arrow data is read. No code of the folder is run.

    Raises:
        MissingDataError: a listed file does not exist, or pyarrow is not installed.
        DataError: a file is not as ``datasets`` writes it, or is too large.
    """
    if not (folder / SAVED_SPLITS).is_file():
        return {"": _read_shards(folder)}
    names = member(read_json(folder / SAVED_SPLITS), "splits", list, where=str(folder / SAVED_SPLITS), of=str)
    return {name: _read_shards(folder / _plain_name(name, folder / SAVED_SPLITS)) for name in names}


def _read_shards(folder: Path) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    arrow, state = _pyarrow("pyarrow", folder), folder / SAVED
    columns: tuple[str, ...] = ()
    rows: list[dict[str, Any]] = []
    for each in member(read_json(state), "_data_files", list, where=str(state), of=dict):
        path = folder / _plain_name(member(each, "filename", str, where=str(state)), state)
        if not path.is_file():
            raise MissingDataError(f"there is no file {path}, which {state} lists: copy the folder again")
        _check_size(path, path.stat().st_size)
        with _readable(path), arrow.memory_map(str(path)) as source:
            columns, more = _rows(arrow.ipc.open_stream(source).read_all())
        rows += more
    return columns, rows


def _rows(table: Any) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Return the columns and rows of an Arrow table, with the names of class labels in place of their numbers."""
    names = _class_names(table.schema.metadata or {})
    columns = {}
    for column, values in zip(table.column_names, (each.to_pylist() for each in table.columns), strict=True):
        called = names.get(column)
        columns[column] = values if called is None else [_class_name(value, called) for value in values]
    return tuple(columns), [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the class names of columns of labels, which ``datasets`` writes into the schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    if not isinstance(features, dict):
        return {}
    labels = {name: each for name, each in features.items() if isinstance(each, dict)}
    return {name: each["names"] for name, each in labels.items() if isinstance(each.get("names"), list)}


def _class_name(value: object, names: list[str]) -> Any:
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _plain_name(name: str, where: Path) -> str:
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise DataError(f"{where} lists {name!r}, expected the name of a file in its folder: save the data set again")
    return name


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(
            f"{path} has {size:,} bytes of data, expected at most {MAX_BYTES:,}: write recordings and images to files, "
            "and list their paths"
        )


def _pyarrow(name: str, path: Path) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingDataError(
            f"{path} needs the package pyarrow: pip install 'mmcl[parquet]', or save the data as CSV or JSONL"
        ) from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, NotImplementedError, MemoryError) as error:  # ArrowInvalid is a ValueError
        reason = str(error).partition("\n")[0][:200]
        raise DataError(f"{path} cannot be read ({reason}): write the file again") from None

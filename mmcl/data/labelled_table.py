"""User data as a table: each row of a CSV is a sample of recordings, images, texts or numbers, with a label."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmcl.data.base import logger
from mmcl.data.class_names import merged_names
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.files.plain_csv import numbers, other_delimiter, read_table
from mmcl.text.suggest import nearest
from mmcl.text.words import composed

if TYPE_CHECKING:
    from mmcl.batch import Sample

_FILES = ("audio", "image")


class LabelledTable:
    """Read ``<split>.csv`` in a folder, one sample per row.

    Columns are ``audio`` and ``image`` (paths relative to the CSV), ``text``, and ``label`` (a class name). All other
    columns are numbers; together they form the view ``numbers``. A warning names rows that another file also has, and
    labels that look the same.

    Args:
        root: folder of the CSV files.
        split: name of the CSV without its suffix.
        size: images are resized so that the shorter side has ``size`` pixels, then center-cropped to a square.

    Attributes:
        modalities: modality of each view; views are ``audio``, ``image``, ``text`` and ``numbers``.
        features: size of the view ``numbers``.
        classes: class names of all files in the folder, in alphabetical order.

    Raises:
        MissingDataError: the folder, the CSV or a listed file does not exist.
        DataError: there are no rows or no view, a column has no name or occurs twice, a row has another number of
            cells, a cell is empty, or a number is not finite; the message names line and column.
        ConfigError: ``size`` is less than 1.
    """

    def __init__(self, root: str | Path, split: str = "train", *, size: int = 224) -> None:
        if size < 1:
            raise ConfigError(f"size is {size}, expected at least 1 pixel")
        self.root, self.split, self.size = Path(root).expanduser(), split, size
        tables = {path.stem: path for path in sorted(self.root.glob("*.csv"))}
        if split not in tables:
            raise MissingDataError(
                f"there is no {self.root / f'{split}.csv'}{nearest(split, tables)}: expected one file per split, with "
                "columns audio, image, text or numbers, and label"
            )
        read = {name: _rows(path) for name, path in tables.items()}
        columns, self._rows = read[split]
        for name, (others, _) in read.items():
            if others != columns:
                raise DataError(
                    f"{tables[name]} has columns {', '.join(others)} and {tables[split]} {', '.join(columns)}: "
                    "expected the same columns in every file"
                )
        self._numbers = [name for name in columns if name not in (*_FILES, "text", "label")]
        self.modalities = {name: name for name in (*_FILES, "text") if name in columns}
        if self._numbers:
            self.modalities["numbers"] = "tabular"
        self.features = {"numbers": len(self._numbers)} if self._numbers else {}
        called = merged_names((row["label"] for _, rows in read.values() for _, row in rows), self.root)
        self.classes = tuple(sorted(set(called.values())))
        label_of = {name: label for label, name in enumerate(self.classes)}
        self.labels = [label_of[called[row["label"]]] for _, row in self._rows]
        self.texts = [composed(row["text"]) if "text" in row else called[row["label"]] for _, row in self._rows]
        self._vectors = self._read_vectors(tables[split])
        _warn_of_shared_rows(split, read)
        self.paths = [[self.root / row[name] for name in _FILES if name in row] for _, row in self._rows]
        listed = [path for own in self.paths for path in own]
        if absent := [path for path in listed if not path.is_file()]:
            raise MissingDataError(
                f"{len(absent)} of {len(listed)} files listed in {tables[split]} do not exist, first {absent[0]}: "
                "paths are relative to the CSV"
            )

    def _read_vectors(self, path: Path) -> list[list[float]]:
        names = self._numbers
        vectors = [numbers([row[name] for name in names], path, line, names) for line, row in self._rows]
        for name, column in zip(names, zip(*vectors, strict=True), strict=False):
            if len(column) > 2 and list(column) == [column[0] + place for place in range(len(column))]:
                logger.warning(
                    "column %s of %s numbers its rows from %g: remove it if it is not a feature",
                    name,
                    path,
                    column[0],
                )
        return vectors

    @property
    def arrays(self) -> list[list[list[float]]]:
        """The vectors of the view ``numbers``."""
        return [self._vectors]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        import torch

        from mmcl.data.audio import load_audio
        from mmcl.data.images.image_file import load_image

        index = range(len(self))[index]
        row = self._rows[index][1]
        sample: dict[str, Any] = {"id": f"{self.split}-{index}", "label": self.labels[index], "text": self.texts[index]}
        if "audio" in row:
            sample["audio"] = load_audio(self.root / row["audio"])
        if "image" in row:
            sample["image"] = load_image(self.root / row["image"], self.size)
        if self._numbers:
            sample["numbers"] = torch.tensor(self._vectors[index])
        return cast("Sample", sample)


def _rows(path: Path) -> tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]:
    """Return the columns of a file, and the line number and cells of each row."""
    table = read_table(path)
    columns = table.columns
    if "label" not in columns or len(columns) < 2:
        hint = "" if "label" in columns else nearest("label", columns)
        raise DataError(
            f"{path} has columns {', '.join(columns) or 'none'}{hint}, expected label, and audio, image, text or "
            f"numbers{other_delimiter(columns)}"
        )
    for line, row in table.rows:
        for name in columns:
            if not row[name].strip():
                raise DataError(f"{path} has an empty cell in line {line}, column {name}: fill it in")
    if not table.rows:
        raise DataError(f"{path} has no rows, expected at least one below its header")
    # Labels are not stripped here: merging them warns about the difference.
    kept = [
        (line, {name: row[name] if name == "label" else row[name].strip() for name in columns})
        for line, row in table.rows
    ]
    return columns, kept


def _warn_of_shared_rows(split: str, read: dict[str, tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]]) -> None:
    """Warn about rows of a split that another file also has, because they would be trained and tested on."""
    own = {tuple(row.values()): line for line, row in read[split][1]}
    for name, (_, rows) in read.items():
        shared = [line for line, row in rows if tuple(row.values()) in own] if name != split else []
        if shared:
            logger.warning(
                "%d rows of %s.csv are also in %s.csv, first line %d: remove them from one file",
                len(shared),
                name,
                split,
                shared[0],
            )

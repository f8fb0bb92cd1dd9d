"""LabelledTable: samples of your own, a row of a CSV each: recordings, images, texts or numbers, and a label."""

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
    """Read ``<split>.csv`` in a folder: columns ``audio`` and ``image`` (paths from where the file lies), ``text``,
    ``label`` (the name of a class), and any others, which are numbers and together the view ``numbers``.

    A warning says which rows of the split are in another file as well, and which labels look the same.

    Args:
        root: the folder.
        split: name of the file, without its suffix.
        size: images are resized so that the shorter side has so many pixels, and their middle square is taken.

    Attributes:
        modalities: modality of each view, among ``audio``, ``image``, ``text`` and ``numbers``.
        features: numbers in the view ``numbers``.
        classes: names of classes, in the order of the alphabet, of all files of the folder.

    Raises:
        MissingDataError: the folder, the file or one that it lists is not there.
        DataError: no row, no column of a view, a column without a name or there twice, a row with more or fewer cells,
            an empty cell, or what is no finite number in a column of numbers; names line and column.
        ConfigError: no size.
    """

    def __init__(self, root: str | Path, split: str = "train", *, size: int = 224) -> None:
        if size < 1:
            raise ConfigError(f"size of images is {size}, expected at least 1 pixel")
        self.root, self.split, self.size = Path(root).expanduser(), split, size
        tables = {path.stem: path for path in sorted(self.root.glob("*.csv"))}
        if split not in tables:
            raise MissingDataError(
                f"there is no {self.root / f'{split}.csv'}{nearest(split, tables)}: expected one file a split, with "
                "columns audio, image, text or numbers, and label"
            )
        read = {name: _rows(path) for name, path in tables.items()}
        columns, self._rows = read[split]
        for name, (others, _) in read.items():
            if others != columns:
                raise DataError(
                    f"{tables[name]} has columns {', '.join(others)} and {tables[split]} {', '.join(columns)}: "
                    "expected the same in every file"
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
                f"{len(absent)} of {len(listed)} files that {tables[split]} lists are not there, first {absent[0]}: "
                "paths start from where the CSV lies"
            )

    def _read_vectors(self, path: Path) -> list[list[float]]:
        names = self._numbers
        vectors = [numbers([row[name] for name in names], path, line, names) for line, row in self._rows]
        for name, column in zip(names, zip(*vectors, strict=True), strict=False):
            if len(column) > 2 and list(column) == [column[0] + place for place in range(len(column))]:
                logger.warning(
                    "column %s of %s counts its rows from %g: it tells their order, remove it if it is no feature",
                    name,
                    path,
                    column[0],
                )
        return vectors

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
    """The columns of a file, and of each row the line and the cells."""
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
                raise DataError(f"{path} has nothing in line {line}, column {name}: fill it in")
    if not table.rows:
        raise DataError(f"{path} has no rows, expected at least one under its header")
    # Labels keep their blanks until they are merged, which is said.
    kept = [
        (line, {name: row[name] if name == "label" else row[name].strip() for name in columns})
        for line, row in table.rows
    ]
    return columns, kept


def _warn_of_shared_rows(split: str, read: dict[str, tuple[tuple[str, ...], list[tuple[int, dict[str, str]]]]]) -> None:
    """Count the rows of a split that another file has as well: what is tested with them has been trained on."""
    own = {tuple(row.values()): line for line, row in read[split][1]}
    for name, (_, rows) in read.items():
        shared = [line for line, row in rows if tuple(row.values()) in own] if name != split else []
        if shared:
            logger.warning(
                "%d rows of %s.csv are in %s.csv as well, first line %d: remove them from one",
                len(shared),
                name,
                split,
                shared[0],
            )

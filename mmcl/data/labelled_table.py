"""LabelledTable: samples of your own, a row of a CSV each: recordings, images, texts or numbers, and a label."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmcl.data.base import nearest
from mmcl.errors import ConfigError, DataError, MissingDataError

if TYPE_CHECKING:
    from mmcl.batch import Sample

_FILES = ("audio", "image")


class LabelledTable:
    """Read ``<split>.csv`` in a folder: columns ``audio`` and ``image`` (paths from where the file lies), ``text``,
    ``label`` (the name of a class), and any others, which are numbers and together the view ``numbers``.

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
        DataError: no row, no column of a view, an empty cell, or text in a column of numbers; names line and column.
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
        self.classes = tuple(sorted({row["label"] for _, rows in read.values() for _, row in rows}))
        self.labels = [self.classes.index(row["label"]) for _, row in self._rows]
        self.texts = [row.get("text", row["label"]) for _, row in self._rows]
        self._vectors = [self._vector(line, row) for line, row in self._rows]
        self.paths = [[self.root / row[name] for name in _FILES if name in row] for _, row in self._rows]
        listed = [path for own in self.paths for path in own]
        if absent := [path for path in listed if not path.is_file()]:
            raise MissingDataError(
                f"{len(absent)} of {len(listed)} files that {tables[split]} lists are not there, first {absent[0]}: "
                "paths start from where the CSV lies"
            )

    def _vector(self, line: int, row: dict[str, str]) -> list[float]:
        numbers = []
        for name in self._numbers:
            try:
                numbers.append(float(row[name]))
            except ValueError:
                raise DataError(
                    f"{self.root / f'{self.split}.csv'} has {row[name]!r} in line {line}, column {name}, expected a "
                    "number: columns of text are called text"
                ) from None
        return numbers

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        import torch

        from mmcl.data.audio import load_audio
        from mmcl.data.captions import load_image

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
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            columns = tuple(reader.fieldnames or ())
            if "label" not in columns or len(columns) < 2:
                hint = "" if "label" in columns else nearest("label", columns)
                raise DataError(
                    f"{path} has columns {', '.join(columns) or 'none'}{hint}, expected label, and audio, image, text "
                    "or numbers"
                )
            rows = []
            for row in reader:
                for name in columns:
                    if not (row[name] or "").strip():
                        raise DataError(f"{path} has nothing in line {reader.line_num}, column {name}: fill it in")
                rows.append((reader.line_num, {name: row[name].strip() for name in columns}))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}): save it as UTF-8 with a header") from None
    if not rows:
        raise DataError(f"{path} has no rows, expected at least one under its header")
    return columns, rows

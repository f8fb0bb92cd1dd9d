"""User data: recordings, images, texts or numbers with a label, from a table or a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mmcl.data.base import Entity, Utterance, logger, short_enough
from mmcl.data.class_names import merged_names
from mmcl.data.made_splits import SHARES, by_class, by_speaker
from mmcl.data.own_rows import FILES, OPTIONAL, TEXTS, OwnRow, OwnRows, all_rows, read_own, same_split
from mmcl.data.own_targets import with_bins
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.text.escape import encodable
from mmcl.text.suggest import nearest

if TYPE_CHECKING:
    from mmcl.batch import Sample

UNLABELLED = "unlabelled"  #: class of all rows without a label


class LabelledTable:
    """Read user data from one file or folder, one sample per row.

    ``root`` is one of:

    * a table: CSV, TSV, JSON lines (``.jsonl``) or Parquet;
    * a folder with one table per split, such as ``train.csv`` and ``test.csv``, with equal columns;
    * a folder with a folder of recordings, images or texts for each label, ``LABEL/...`` or ``SPLIT/LABEL/...``;
    * a folder saved by Hugging Face ``datasets``.

    Columns are ``audio`` and ``image`` (paths relative to the table, or absolute), ``text`` or ``transcript``, and
    ``label`` (a class name). Optional are ``split``, ``speaker``, ``entities`` (``size: large; drink: latte``) and
    ``rationale``. All other columns are numbers; together they form the view ``numbers``.

    For regression, ``target`` names a column of numbers to predict. Its bins are then the classes: bins of equal width,
    from the smallest to the largest training target. The view ``numbers`` is scaled to mean 0 and standard deviation 1
    of the training rows.

    A folder of tables is used as it is. In the other layouts, missing splits are drawn from the rows of ``train``, or
    from all rows if no split is given: 10 % for ``valid`` and 20 % for ``test``. ``dev`` and ``validation`` count as
    ``valid``. A warning names rows that two files share, and labels that look the same.

    Args:
        root: file or folder.
        split: name of the split.
        size: images are resized so that the shorter side has ``size`` pixels, then center-cropped to a square.
        grey: convert images to one channel.
        max_seconds: skip longer recordings; None keeps all.
        columns: name of each column in the file by its meaning, such as ``{"label": "intent"}``; None for a column
            that is not read.
        split_seed: seed of the splits that are drawn.
        by_speaker: draw splits so that no speaker is in two of them, if there is a column ``speaker``.
        labelled: if False, a table needs no column ``label``; all rows then have one class.
        target: column of numbers to predict, in place of ``label``; None for classes.
        bins: number of bins of the target.

    Attributes:
        modalities: modality of each view; views are ``audio``, ``image``, ``text`` and ``numbers``.
        features: size of the view ``numbers``.
        targets: number to predict of each sample; None without ``target``.
        classes: class names of all splits, in alphabetical order; or bins, from the lowest.
        splits: names of the splits.
        made: splits that were drawn.

    Raises:
        MissingDataError: the folder, the table, the split or a listed file does not exist.
        DataError: there are no rows or no view, a column has no name or occurs twice, a row has another number of
            cells, a cell is empty, a path leads out of the folder, or a number is not finite; the message names line
            and column. Or all training targets are equal.
        ConfigError: ``size`` is less than 1, or ``bins`` less than 2.
    """

    utterances: Sequence[Utterance] | None = None
    entities: Sequence[tuple[Entity, ...]] | None = None
    targets: Sequence[float] | None = None

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        size: int = 224,
        grey: bool = False,
        max_seconds: float | None = None,
        columns: Mapping[str, str | None] | None = None,
        split_seed: int = 0,
        by_speaker: bool = True,
        labelled: bool = True,
        target: str | None = None,
        bins: int = 20,
    ) -> None:
        if size < 1:
            raise ConfigError(f"size is {size}, expected at least 1 pixel")
        if bins < 2:
            raise ConfigError(f"bins is {bins}, expected 2 or more")
        self.root, self.split, self.size, self.grey = Path(root).expanduser(), split, size, grey
        self.max_seconds = max_seconds
        own = read_own(self.root, columns, labelled=labelled, target=target)
        splits, self.made = with_made_splits(own, self.root, split_seed, speakers_apart=by_speaker)
        self.splits, found = tuple(splits), same_split(split, list(splits))
        if found is None:
            raise MissingDataError(_no_split(self.root, split, own, splits))
        self._columns, self._numbers, self._layout = own.columns, list(own.numbers), own.layout
        self.modalities = {name: name for name in FILES if name in own.columns}
        if any(name in own.columns for name in TEXTS):
            self.modalities["text"] = "text"
        if own.numbers:
            self.modalities["numbers"] = "tabular"
        self.features = {"numbers": len(own.numbers)} if own.numbers else {}
        if own.layout == "tables":
            _warn_of_shared_rows(found, splits)
        _warn_of_row_numbers(splits[found], self._numbers)
        _check_files(splits[found])
        if target is None:
            rows = splits[found]
            self._called = merged_names((row.label or UNLABELLED for row in all_rows(own)), self.root)
            self.classes = tuple(sorted(set(self._called.values())))
        else:
            rows, self.classes = with_bins(splits, found, bins, self.root)
            self._called = dict(zip(self.classes, self.classes, strict=True))
        if max_seconds is not None and "audio" in self.modalities:
            heard = [Utterance(str(index), row.files["audio"], 0) for index, row in enumerate(rows)]
            rows = [rows[int(utterance.id)] for utterance in short_enough(heard, max_seconds)]
        if not rows:
            raise DataError(f"{self.root} has no rows in split '{split}' with max_seconds={max_seconds}: raise it")
        self._hold(rows, [f"{split}-{index}" for index in range(len(rows))])

    def _hold(self, rows: list[OwnRow], ids: list[str]) -> None:
        """Hold rows, and the attributes that other modules read."""
        label_of = {name: label for label, name in enumerate(self.classes)}
        names = [self._called[row.label or UNLABELLED] for row in rows]
        self._rows, self.labels = rows, [label_of[name] for name in names]
        self.texts = [row.text or name for row, name in zip(rows, names, strict=True)]
        self.speakers = [encodable(row.speaker) for row in rows]
        self.entities = [row.entities for row in rows] if "entities" in self._columns else None
        self.paths = [list(row.files.values()) for row in rows]
        self._vectors = [list(row.numbers) for row in rows]
        self.targets = [row.target for row in rows if row.target is not None] or None
        self._ids = ids
        if self._layout == "tables" and not set(OPTIONAL) & set(self._columns) and self.max_seconds is None:
            return  # without utterances, the fingerprints of mmcl 0.1 stay the same, and its runs can be resumed
        self._ids = [encodable(row.written[0]) if row.written else own for row, own in zip(rows, ids, strict=True)]
        if "audio" in self.modalities:
            said = zip(self._ids, rows, self.labels, self.texts, self.speakers, strict=True)
            self.utterances = [
                Utterance(own, row.files["audio"], label, encodable(text), speaker, row.entities)
                for own, row, label, text, speaker in said
            ]

    def __add__(self, other: LabelledTable) -> LabelledTable:
        """Concatenate two splits; raises DataError if their classes or columns differ."""
        if (self.classes, self._columns, self._numbers) != (other.classes, other._columns, other._numbers):
            raise DataError(
                f"{self.root} ({self.split}) and {other.root} ({other.split}) have other classes or columns: expected "
                "splits of one data set"
            )
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined._hold([*self._rows, *other._rows], [*self._ids, *other._ids])
        return joined

    @property
    def arrays(self) -> list[list[list[float]]]:
        """The vectors of the view ``numbers``, with the target if there is one."""
        if self.targets is None:
            return [self._vectors]
        return [[[*vector, target] for vector, target in zip(self._vectors, self.targets, strict=True)]]

    @property
    def rows(self) -> Sequence[OwnRow]:
        """The row of each sample."""
        return self._rows

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        import torch

        from mmcl.data.audio import load_audio
        from mmcl.data.images.image_file import load_image

        index = range(len(self))[index]
        row = self._rows[index]
        sample: dict[str, Any] = {"id": self._ids[index], "label": self.labels[index], "text": self.texts[index]}
        if "audio" in row.files:
            sample["audio"] = load_audio(row.files["audio"], max_seconds=self.max_seconds)
        if "image" in row.files:
            sample["image"] = load_image(row.files["image"], self.size, grey=self.grey)
        if self._numbers:
            sample["numbers"] = torch.tensor(self._vectors[index])
        if self.targets is not None:
            sample["target"] = self.targets[index]
        if "speaker" in self._columns:
            sample["speaker"] = self.speakers[index]
        if self.entities is not None:
            sample["entities"] = self.entities[index]
        return cast("Sample", sample)


def with_made_splits(
    own: OwnRows, root: Path, seed: int, *, speakers_apart: bool = True
) -> tuple[dict[str, list[OwnRow]], tuple[str, ...]]:
    """Return the splits of user data, and the names of those that were drawn.

    Raises:
        DataError: there are too few speakers to keep them apart.
    """
    splits = own.splits if set(own.splits) != {""} else {"train": own.splits[""]}
    source = same_split("train", list(splits))
    missing = [name for name in SHARES if same_split(name, list(splits)) is None]
    if own.layout == "tables" or source is None or not missing:
        return splits, ()
    rows = splits[source]
    labels = [row.label for row in rows]
    if speakers_apart and any(row.speaker for row in rows):
        names = [row.speaker or f"\0{row.unit}" for row in rows]  # an unknown speaker is nobody else
        try:
            drawn = by_speaker(labels, names, missing, seed)
        except DataError as error:
            raise DataError(f"{root} cannot be split by speaker: {error}") from None
    else:
        drawn = by_class(labels, [row.unit for row in rows], missing, seed)
    chosen: dict[str, list[OwnRow]] = {name: [] for name in ("train", *missing)}
    for row, name in zip(rows, drawn, strict=True):
        chosen[name].append(row)
    made = {name: own for name, own in chosen.items() if own}
    given = {name: own for name, own in splits.items() if name != source}
    return {source: made.pop("train"), **made, **given}, (*(name for name in missing if name in made),)


def _no_split(root: Path, split: str, own: OwnRows, splits: Mapping[str, Any]) -> str:
    if own.layout == "tables":
        return (
            f"there is no {root / f'{split}.csv'}{nearest(split, splits)}: expected one file per split, with columns "
            "audio, image, text or numbers, and label; or pass one file, of which missing splits are made"
        )
    return (
        f"{root} has no split '{split}'{nearest(split, splits)}: expected one of {', '.join(splits)}; write the splits "
        "into a column split, or add more rows"
    )


def _check_files(rows: Sequence[OwnRow]) -> None:
    listed = [(row, path) for row in rows for path in row.files.values()]
    if absent := [(row, path) for row, path in listed if not os.path.isfile(path)]:
        row, path = absent[0]
        raise MissingDataError(
            f"{len(absent)} of {len(listed)} files listed in {row.source} do not exist, first {path} in {row.place}: "
            "paths are relative to the table"
        )


def _warn_of_row_numbers(rows: Sequence[OwnRow], names: Sequence[str]) -> None:
    """Warn about columns that count the rows, which are hardly features."""
    for name, column in zip(names, zip(*(row.numbers for row in rows), strict=True), strict=False):
        if len(column) > 2 and list(column) == [column[0] + place for place in range(len(column))]:
            logger.warning(
                "column %s of %s numbers its rows from %g: remove it if it is not a feature",
                name,
                rows[0].source,
                column[0],
            )


def _warn_of_shared_rows(split: str, splits: Mapping[str, Sequence[OwnRow]]) -> None:
    """Warn about rows of a split that another file also has, because they would be trained and tested on."""
    own = {row.cells for row in splits[split]}
    for name, rows in splits.items():
        shared = [row for row in rows if row.cells in own] if name != split else []
        if shared:
            logger.warning(
                "%d rows of %s are also in %s, first %s: remove them from one file",
                len(shared),
                shared[0].source.name,
                splits[split][0].source.name,
                shared[0].place,
            )

"""Base class of omics data in MOGONET's layout: three views of each person's tissue as tables, and a diagnosis."""

from __future__ import annotations

import logging
from collections import Counter
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from mmcl.data.base import Source, checked_root
from mmcl.errors import ConfigError, DataError
from mmcl.files.plain_csv import numbers, read_rows

if TYPE_CHECKING:
    from torch import Tensor

    from mmcl.batch import Batch, Sample

logger = logging.getLogger(__name__)

VIEWS = ("mrna", "methylation", "mirna")
_FILES = {"train": "tr", "valid": "tr", "test": "te"}


class MogonetDataset:
    """Base class of omics data: reads ``1_tr.csv``, ``2_tr.csv``, ``3_tr.csv`` and ``labels_tr.csv``, and the test
    tables ``1_te.csv`` and so on. Tables have one row per sample and no header.

    A sample has one vector per view, its ``label``, and the name of its class as ``text``. A subclass defines the
    classes and the source.

    Args:
        root: folder with these files.
        split: ``"train"``, ``"valid"`` or ``"test"``. The owner's training set is split into ``folds`` stratified
            folds: ``"valid"`` is fold number ``fold``, ``"train"`` all others. Concatenate both with ``+``.
        folds, fold, seed: number of folds, validation fold (from 0) and seed of the split, for cross-validation.

    Attributes:
        modalities: modality of each view.
        features: vector size of each view.

    Raises:
        MissingDataError: the folder or a file does not exist.
        DataError: the split does not exist, tables differ in their number of rows, or a cell is empty, not a number
            or not finite; the message names line and column. A warning counts constant features.
        ConfigError: ``folds`` or ``fold`` is out of range.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    source: ClassVar[Source | None] = None
    classes: ClassVar[tuple[str, ...]] = ()
    modalities: ClassVar[dict[str, str]] = dict.fromkeys(VIEWS, "tabular")

    def __init__(self, root: str | Path, split: str = "train", *, folds: int = 5, fold: int = 0, seed: int = 0) -> None:
        import torch

        self.root, self.split = checked_root(type(self), root, split), split
        if folds < 2 or not 0 <= fold < folds:
            raise ConfigError(f"fold is {fold} of {folds} folds, expected 2 or more folds, numbered from 0")
        end = _FILES[split]
        labels = self._labels(self.root / f"labels_{end}.csv")
        tables = {view: _table(self.root / f"{number}_{end}.csv") for number, view in enumerate(VIEWS, start=1)}
        for number, table in enumerate(tables.values(), start=1):
            if len(table) != len(labels):
                raise DataError(
                    f"{self.root / f'{number}_{end}.csv'} has {len(table)} rows and {self.root / f'labels_{end}.csv'} "
                    f"{len(labels)}, expected equal numbers: copy both again"
                )
        rows = np.arange(len(labels))
        if split != "test":
            held_out = _fold_rows(labels, folds, fold, seed)
            rows = rows[np.isin(rows, held_out, invert=split == "train")]
        self.ids = [f"{end}-{row}" for row in rows]
        self._views = {view: torch.from_numpy(table[rows]).float() for view, table in tables.items()}
        self._label = torch.from_numpy(labels[rows])
        self.features = {view: table.shape[1] for view, table in tables.items()}
        self._set_labels()

    def _set_labels(self) -> None:
        self.labels = self._label.tolist()
        self.texts = [self.classes[label] for label in self.labels]

    def _labels(self, path: Path) -> NDArray[np.int64]:
        labels = []
        for line, cells in read_rows(path):
            row = numbers(cells, path, line)
            if len(row) != 1 or row[0] not in range(len(self.classes)):
                raise DataError(
                    f"{path} has {row} in line {line}, expected one label from 0 to {len(self.classes) - 1} per line"
                )
            labels.append(int(row[0]))
        return np.array(labels, dtype=np.int64)

    def __add__(self, other: MogonetDataset) -> MogonetDataset:
        """Concatenate two splits; raises DataError if they belong to different data sets."""
        import torch

        if type(self) is not type(other) or self.features != other.features:
            raise DataError(f"{self.root} and {other.root} are different data sets, expected splits of one data set")
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined.ids = self.ids + other.ids
        joined._views = {view: torch.cat([table, other._views[view]]) for view, table in self._views.items()}
        joined._label = torch.cat([self._label, other._label])
        joined._set_labels()
        return joined

    @property
    def arrays(self) -> list[Tensor]:
        """The vectors of each view, ``(samples, features)``."""
        return list(self._views.values())

    def held(self) -> list[NDArray[np.float32]]:
        """Return the vectors of each view as arrays, for finding equal samples in two splits."""
        return [table.numpy() for table in self._views.values()]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        views = {view: table[index] for view, table in self._views.items()}
        about = {"id": self.ids[index], "label": self.labels[index], "text": self.texts[index]}
        return cast("Sample", {**views, **about})

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        from mmcl.batch import Batch

        views = {view: table[rows] for view, table in self._views.items()}
        return Batch(**views, label=self._label[rows], text=[self.texts[row] for row in rows.tolist()])


def _fold_rows(labels: NDArray[np.int64], folds: int, fold: int, seed: int) -> NDArray[np.int64]:
    """Return the rows of one stratified fold."""
    from sklearn.model_selection import StratifiedKFold

    rarest, count = min(Counter(labels.tolist()).items(), key=lambda item: item[1])
    if count < folds:
        raise ConfigError(f"folds is {folds}, but class {rarest} has {count} samples: expected at most {count} folds")
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels)
    return list(splits)[fold][1]


def _table(path: Path) -> NDArray[np.float64]:
    """Read a table of numbers, ``(rows, columns)``."""
    table = np.array([numbers(cells, path, line) for line, cells in read_rows(path)])
    if not table.size:
        raise DataError(f"{path} is empty: copy it again from its source")
    if len(table) > 1 and table.shape[1] > 1 and (constant := np.flatnonzero(np.ptp(table, axis=0) == 0)).size:
        logger.warning(
            "%s has %d features with the same value in all samples, first column %d: they carry no information",
            path,
            len(constant),
            constant[0] + 1,
        )
    return table

"""Regression tables of the UCI repository: airfoil, concrete, energy, power plant, wine and yacht."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from mmcl.config.numbers import AtLeastTwo
from mmcl.data.base import Source, checked_root
from mmcl.data.regression_set import RegressionSet, bin_edges, check_targets
from mmcl.errors import ConfigError, DataError
from mmcl.files.plain_csv import numbers
from mmcl.files.plain_json import read_text
from mmcl.text.suggest import nearest

UciTable = Literal["airfoil", "concrete", "energy", "power_plant", "wine", "yacht"]

_FILES = {
    "airfoil": "airfoil_self_noise.tsv",
    "concrete": "concrete.txt",
    "energy": "energy.txt",
    "power_plant": "power-plant.txt",
    "wine": "wine-quality-red.txt",
    "yacht": "yacht.txt",
}
_SHARES = {"valid": 0.1, "test": 0.2}  # of the rows; all others are for training


class UciRegression(RegressionSet):
    """Read a table with one row per sample, in which blanks separate numbers and the last column is the target.

    ====================  ======================================================  ======
    table                 target                                                  rows
    ====================  ======================================================  ======
    airfoil               sound pressure level in dB                              1,503
    concrete              compressive strength in MPa                             1,030
    energy                heating load in kWh/m2                                  768
    power_plant           electrical output in MW                                 9,568
    wine                  quality of red wine, from 3 to 8                        1,599
    yacht                 residuary resistance per unit weight of displacement    308
    ====================  ======================================================  ======

    The file of ``airfoil`` has a header. Rows are split at random: 10 % ``valid``, 20 % ``test``, the rest ``train``.
    Features are scaled to mean 0 and standard deviation 1 of the training rows; constant ones become 0. Targets keep
    their unit.

    Args:
        root: folder of the files.
        split: ``"train"``, ``"valid"`` or ``"test"``.
        table: name of the table.
        bins: number of bins of equal width, from the smallest to the largest training target, which are the classes.
        seed: seed of the split.

    Raises:
        MissingDataError: the folder or the file does not exist.
        DataError: the split does not exist, a row has another number of cells than the first, a cell is not a finite
            number, there are fewer than ten rows, or targets are constant. The message names the line.
        ConfigError: the table is unknown, or there are fewer than two bins.
    """

    source: ClassVar[Source] = Source(
        name="uci_regression",
        folder="uci_regression",
        marker=tuple(_FILES.values()),
        owner="UCI Machine Learning Repository",
        license="CC BY 4.0",
        size="6 tables, 14,776 rows, 0.6 MB",
        url="https://archive.ics.uci.edu",
        note="6 tables of measurements with a number to predict",
    )
    modalities: ClassVar[Mapping[str, str]] = {"numbers": "tabular"}

    @classmethod
    def variants(cls, root: Path) -> list[tuple[dict[str, Any], tuple[str, ...]]]:
        """Return the options and splits that ``mmcl data check`` reads: those of every table."""
        return [({"table": table}, cls.splits) for table in _FILES]

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        table: UciTable = "airfoil",
        bins: AtLeastTwo = 20,
        seed: int = 0,
    ) -> None:
        import torch

        self.root, self.split = checked_root(UciRegression, root, split), split
        if table not in _FILES:
            raise ConfigError(
                f"there is no table '{table}'{nearest(table, _FILES)}: expected one of {', '.join(_FILES)}"
            )
        if bins < 2:
            raise ConfigError(f"bins is {bins}, expected 2 or more")
        rows = torch.tensor(_read(self.root / _FILES[table], has_header=table == "airfoil"), dtype=torch.float64)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
        valid, test = (max(1, round(share * len(rows))) for share in _SHARES.values())
        parts = dict(zip((*_SHARES, "train"), order.split([valid, test, len(rows) - valid - test]), strict=True))
        known = rows[parts["train"].sort().values]
        check_targets(known[:, -1].tolist(), str(self.root / _FILES[table]))
        mean, deviation = known[:, :-1].mean(0), known[:, :-1].std(0, correction=0)
        own = rows[parts[split].sort().values]
        inputs = (own[:, :-1] - mean) / deviation.where(deviation > 0, torch.inf)
        low, high = known[:, -1].min().item(), known[:, -1].max().item()
        self._hold(inputs.float(), own[:, -1].tolist(), bin_edges(low, high, bins))


def _read(path: Path, *, has_header: bool) -> list[list[float]]:
    """Read the rows of a table."""
    rows: list[tuple[int, list[float]]] = []
    for line, text in enumerate(read_text(path).splitlines(), start=1):
        cells = text.split()
        if not cells or (has_header and line == 1):
            continue
        if rows and len(cells) != len(rows[0][1]):
            raise DataError(
                f"{path} line {line} has {len(cells)} cells, expected {len(rows[0][1])} as in line {rows[0][0]}: "
                "copy the file again from its source"
            )
        rows.append((line, numbers(cells, path, line)))
    if len(rows) < 10 or len(rows[0][1]) < 2:
        width = len(rows[0][1]) if rows else 0
        raise DataError(
            f"{path} has {len(rows)} rows of {width} cells, expected at least 10 of 2 or more: copy the file again"
        )
    return [row for _, row in rows]

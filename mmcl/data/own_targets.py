"""Numbers to predict in user data: bins as classes, and columns of numbers scaled by the training rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mmcl.data.own_rows import OwnRow, same_split
from mmcl.data.regression_set import bin_edges, bin_names, bins_of, check_targets


def with_bins(
    splits: Mapping[str, Sequence[OwnRow]], split: str, bins: int, root: Path
) -> tuple[list[OwnRow], tuple[str, ...]]:
    """Return the rows of a split with bins of their targets as labels, and the names of the bins.

    Bins are of equal width, from the smallest to the largest training target. Numbers are scaled to mean 0 and standard
    deviation 1 of the training rows; constant ones become 0.

    Args:
        splits: rows of each split, which have targets. Without a split for training, ``split`` takes its place.
        split: the split to return.
        bins: number of bins.
        root: file or folder, for errors.

    Raises:
        DataError: training targets are all equal.
    """
    import numpy as np

    own, known = splits[split], splits[same_split("train", list(splits)) or split]
    targets = _targets(known)
    check_targets(targets, str(root))
    edges = bin_edges(min(targets), max(targets), bins)
    names = bin_names(edges)
    values, training = (np.array([row.numbers for row in rows], dtype=np.float64) for rows in (own, known))
    varies = training.max(0) > training.min(0)
    scaled = np.where(varies, (values - training.mean(0)) / np.where(varies, training.std(0), 1.0), 0.0)
    labels = [names[place] for place in bins_of(_targets(own), edges)]
    placed = zip(own, labels, scaled.tolist(), strict=True)
    return [replace(row, label=label, numbers=tuple(vector)) for row, label, vector in placed], names


def _targets(rows: Sequence[OwnRow]) -> list[float]:
    return [row.target for row in rows if row.target is not None]

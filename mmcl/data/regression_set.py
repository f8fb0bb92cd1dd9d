"""Base class of regression data sets in memory, whose classes are bins of the target."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from mmcl.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from mmcl.batch import Batch, Sample

RegressionSetT = TypeVar("RegressionSetT", bound="RegressionSet")


class RegressionSet:
    """Base class of data sets in memory with a number to predict. A subclass reads them and calls ``_hold``.

    A sample has one input, its ``target``, and as ``label`` the bin of the target. Bins serve as classes: objectives
    with labels train on them, and measures find rare targets by them. ``+`` concatenates splits of one data set.

    Attributes:
        targets: number to predict of each sample.
        classes: names of the bins, from the lowest.
        labels: bin of each sample; targets beyond the outer edges are in the first or last bin.
        texts: name of each sample's bin.
        ids: id of each sample.
        modalities: modality of the input, by its name in a sample.
        features: size of the input if it is a vector.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "valid", "test")
    modalities: ClassVar[Mapping[str, str]] = {}
    features: Mapping[str, int]
    root: Path
    split: str

    def _hold(self, inputs: Tensor, targets: Sequence[float], edges: Sequence[float]) -> None:
        """Hold inputs ``(samples, ...)``, their targets, and the edges of the bins.

        Raises:
            DataError: the numbers of inputs and targets differ, or a target is not finite.
        """
        (self._input,) = self.modalities
        if len(inputs) != len(targets):
            raise DataError(f"{self.root} has {len(inputs)} samples and {len(targets)} targets, expected equal numbers")
        check_targets(targets, f"{self.root} in split '{self.split}'", varied=False)
        self._values, self.targets, self._edges = inputs, list(targets), list(edges)
        self.features = {self._input: inputs.shape[1]} if inputs.dim() == 2 else {}
        self.classes = bin_names(edges)
        self.labels = bins_of(targets, edges)
        self.texts = [self.classes[label] for label in self.labels]
        self.ids = [f"{self.split}-{row}" for row in range(len(self.targets))]

    @property
    def arrays(self) -> list[Tensor]:
        """The inputs and the targets, ``(samples, ...)``."""
        import torch

        return [self._values, torch.tensor(self.targets)]

    def held(self) -> list[NDArray[np.generic]]:
        """Return the inputs as an array, for finding equal samples in two splits."""
        return [self._values.numpy()]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Sample:
        index = range(len(self))[index]
        about = {name: getattr(self, f"{name}s")[index] for name in ("id", "label", "text", "target")}
        return cast("Sample", {self._input: self._values[index], **about})

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of samples ``rows``, ``(batch,)``."""
        import torch

        from mmcl.batch import Batch

        chosen = rows.tolist()
        return Batch(
            {
                self._input: self._values[rows],
                "label": torch.tensor([self.labels[row] for row in chosen], dtype=torch.long),
                "text": [self.texts[row] for row in chosen],
                "target": torch.tensor([self.targets[row] for row in chosen]),
            }
        )

    def __add__(self: RegressionSetT, other: RegressionSetT) -> RegressionSetT:
        """Concatenate two splits; raises DataError if they belong to different data sets."""
        import torch

        if type(self) is not type(other) or self._edges != other._edges:
            raise DataError(f"{self.root} and {other.root} are different data sets, expected splits of one data set")
        joined = copy(self)
        joined.split = f"{self.split}+{other.split}"
        joined._values = torch.cat([self._values, other._values])
        joined.targets, joined.labels = self.targets + other.targets, self.labels + other.labels
        joined.texts, joined.ids = self.texts + other.texts, self.ids + other.ids
        return joined


def bin_edges(low: float, high: float, bins: int) -> list[float]:
    """Return the edges of bins of equal width.

    >>> bin_edges(0.0, 3.0, 2)
    [0.0, 1.5, 3.0]
    """
    return [low + (high - low) * edge / bins for edge in range(bins + 1)]


def bin_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return the names of bins, with as many digits as tell the edges apart.

    >>> bin_names([0.0, 0.5, 1.0])
    ('0 to 0.5', '0.5 to 1')
    """
    shown = [f"{edge:g}" for edge in edges]
    if len(set(shown)) < len(shown):
        shown = [f"{edge:.17g}" for edge in edges]
    return tuple(f"{low} to {high}" for low, high in pairwise(shown))


def bins_of(targets: Sequence[float], edges: Sequence[float]) -> list[int]:
    """Return the bin of each target; targets beyond the outer edges are in the first or last bin.

    >>> bins_of([-9.0, 1.0, 2.0, 9.0], edges=[0.0, 2.0, 4.0, 6.0])
    [0, 0, 1, 2]
    """
    inner = list(edges[1:-1])
    return [bisect_right(inner, target) for target in targets]


def check_targets(targets: Sequence[float], where: str, *, varied: bool = True) -> None:
    """Check that targets are finite and, with ``varied``, not all equal.

    Args:
        targets: number to predict of each sample.
        where: data set, for the error.
        varied: require two or more distinct targets.

    Raises:
        DataError: a target is not finite, or all are equal.

    >>> check_targets([1.0, float("nan")], "the table")
    Traceback (most recent call last):
    ...
    mmcl.errors.DataError: the table has target nan in sample 1, expected a finite number: correct or remove it
    """
    for row, target in enumerate(targets):
        if not math.isfinite(target):
            raise DataError(
                f"{where} has target {target} in sample {row}, expected a finite number: correct or remove it"
            )
    if varied and len(set(targets)) < 2:
        raise DataError(
            f"{where} has the target {targets[0] if targets else 'none'} in all {len(targets)} samples, expected "
            "targets that differ: choose another column"
        )

"""Which queries and keys belong together, and how much: matrices W that are never written out.

An objective needs of W its products with features, and those cost O(batch x dim) for every kind below, because a
class has one mean, a mixture two parts, and a similarity of features is itself a product.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from mmcl.errors import ConfigError
from mmcl.objectives.kernel.base import Pairs
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import check_features, precise
from mmcl.objectives.kernel.labels import check_mixture, flags_of, labels_of
from mmcl.objectives.kernel.unit import unit


@dataclass(frozen=True, eq=False)
class Identity(Pairs):
    """Row i of one side belongs with row i of the other.

    Args:
        count: rows of each side.
        shift: with row i + shift instead, counted around: half of the rows, where two views of a batch are stacked.

    >>> Identity(2).complement().dense(torch.zeros(1))
    tensor([[0., 1.],
            [1., 0.]])
    """

    count: int
    shift: int = 0
    differ: bool = field(default=False, kw_only=True)
    offset: int = field(default=0, kw_only=True)
    keys: int | None = field(default=None, kw_only=True)

    @property
    def shape(self) -> tuple[int, int]:
        return self.count, self.count if self.keys is None else self.keys

    def matmul(self, keys: Tensor) -> Tensor:
        own = keys[self.offset : self.offset + self.count]
        own = own.roll(-self.shift, 0) if self.shift else own
        return keys.sum(0) - own if self.differ else own

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        own = queries.roll(self.shift, 0) if self.shift else queries
        own = pad(own, (0, 0, self.offset, self.shape[1] - self.offset - self.count))
        return queries.sum(0) - own if self.differ else own

    @property
    def diagonal(self) -> int | None:
        return None if self.differ or self.shift else self.offset

    def gathered(self, processes: Processes) -> Identity:
        return replace(self, offset=processes.own.start, keys=processes.total)

    def complement(self) -> Identity:
        """Return all other pairs."""
        return replace(self, differ=not self.differ)

    def labelled(self, device: torch.device) -> SameLabel:
        """Return the same pairs as labels: every sample has one of its own."""
        keys = torch.arange(self.shape[1], device=device)
        if self.keys is None and not self.shift:
            return SameLabel(keys, differ=self.differ)
        return SameLabel(keys[self.offset : self.offset + self.count].roll(-self.shift), keys, differ=self.differ)


@dataclass(frozen=True, eq=False)
class SameLabel(Pairs):
    """A query belongs with the keys of its label.

    Args:
        labels: of the queries, ``(queries,)``, whole numbers or booleans.
        key_labels: of the keys, ``(keys,)``; None where queries and keys are the same samples.
        exclude_self: leave each sample's pair with itself out, where queries and keys are the same samples.
        differ: a key belongs with the queries of other labels instead: True for all keys, or boolean ``(keys,)``.

    Raises:
        ShapeError: labels are not one for each row.
        LabelError: labels are not whole numbers.
        ConfigError: exclude_self where it has no meaning.

    >>> SameLabel(torch.tensor([0, 1, 0]), exclude_self=True).dense(torch.zeros(1))
    tensor([[0., 0., 1.],
            [0., 0., 0.],
            [1., 0., 0.]])
    """

    labels: Tensor
    key_labels: Tensor | None = None
    exclude_self: bool = False
    differ: bool | Tensor = False
    own: Identity | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", labels_of("labels", self.labels))
        if self.key_labels is not None:
            object.__setattr__(self, "key_labels", labels_of("key_labels", self.key_labels, device=self.labels.device))
        if not isinstance(self.differ, bool):
            object.__setattr__(self, "differ", flags_of("differ", self.differ, self.shape[1], self.labels.device))
        if self.exclude_self and self.own is None:
            if self.key_labels is not None or self.differ is not False:
                raise ConfigError("exclude_self with key_labels or differ: a sample is then no key of its own label")
            object.__setattr__(self, "own", Identity(len(self.labels)))

    @property
    def of_keys(self) -> Tensor:
        """Labels of the keys, ``(keys,)``."""
        return self.labels if self.key_labels is None else self.key_labels

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.labels), len(self.of_keys)

    def matmul(self, keys: Tensor) -> Tensor:
        if self.differ is False:
            same = _label_sums(keys, self.of_keys, self.labels)
            return same if self.own is None else same - self.own.matmul(keys)
        differ = torch.as_tensor(self.differ, device=keys.device).expand(len(keys))[:, None]
        others = keys.masked_fill(~differ, 0).sum(0)
        return others + _label_sums(torch.where(differ, -keys, keys), self.of_keys, self.labels)

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        same = _label_sums(queries, self.labels, self.of_keys)
        if self.differ is False:
            return same if self.own is None else same - self.own.transposed_matmul(queries)
        differ = torch.as_tensor(self.differ, device=queries.device).expand(len(same))[:, None]
        return torch.where(differ, queries.sum(0) - same, same)

    def gathered(self, processes: Processes) -> SameLabel:
        return replace(
            self,
            key_labels=processes.gather(self.of_keys),
            differ=processes.gather(self.differ) if isinstance(self.differ, Tensor) else self.differ,
            own=None if self.own is None else self.own.gathered(processes),
        )

    def complement(self) -> SameLabel:
        """Return all other pairs."""
        if self.exclude_self:
            raise ConfigError("SameLabel(exclude_self=True) has no complement here; take that of SameLabel(labels)")
        return replace(self, differ=~self.differ if isinstance(self.differ, Tensor) else not self.differ)


def _label_sums(rows: Tensor, labels: Tensor, asked: Tensor) -> Tensor:
    """Sum the rows of each label, and return for each label asked for its sum."""
    if not len(rows):
        return rows.new_zeros(len(asked), rows.shape[1])
    # The first place of a label among the sorted ones is its number: no shape depends on what the labels are.
    ordered = labels.sort().values
    numbers = torch.searchsorted(ordered, labels)
    sums = torch.zeros_like(rows).index_add(0, numbers, rows)
    if asked is labels:
        return sums[numbers]
    places = torch.searchsorted(ordered, asked).clamp(max=len(ordered) - 1)
    return sums[places].masked_fill((ordered[places] != asked)[:, None], 0)


@dataclass(frozen=True, eq=False)
class Similarity(Pairs):
    """A query belongs with each key as much as their features are alike: ``W_ij = (1 + cos(f_i, g_j)) / 2``.

    CWCL (Srinivasa et al., arXiv 2309.14580), the weights; within [0, 1].

    Args:
        features: f, of the queries, ``(queries, dim)``.
        key_features: g, of the keys, ``(keys, dim)``; None where they are the same.

    Raises:
        ShapeError, InputError: features that no objective can use.

    >>> Similarity(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).dense(torch.zeros(1))
    tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]])
    """

    features: Tensor
    key_features: Tensor | None = None

    def __post_init__(self) -> None:
        check_features(features=self.features, key_features=self._keys())

    def _keys(self) -> Tensor:
        return self.features if self.key_features is None else self.key_features

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self._keys())

    def matmul(self, keys: Tensor) -> Tensor:
        return _similar(self.features, self._keys(), keys)

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        return _similar(self._keys(), self.features, queries)

    def row_sums(self, like: Tensor) -> Tensor:
        return self._without_noise(super().row_sums(like), self.shape[1])

    def column_sums(self, like: Tensor) -> Tensor:
        return self._without_noise(super().column_sums(like), self.shape[0])

    @staticmethod
    def _without_noise(sums: Tensor, count: int) -> Tensor:
        """Weights of nothing but opposites sum to 0, not to what rounding leaves of that."""
        return torch.where(sums > 4 * count * torch.finfo(sums.dtype).eps, sums, 0)

    def gathered(self, processes: Processes) -> Similarity:
        return Similarity(self.features, processes.gather(self._keys()))


def _units(targets: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    (one,), (other,) = precise(targets), precise(sources)
    return unit(one, 0.5), unit(other)


def _similar(targets: Tensor, sources: Tensor, rows: Tensor) -> Tensor:
    targets, sources = (side.to(rows.dtype) for side in _units(targets, sources))
    return rows.sum(0) / 2 + targets @ (sources.T @ rows)


@dataclass(frozen=True, eq=False)
class Mixed(Pairs):
    """A mixture belongs with each of its two parts as much as it holds of it.

    ``W_i,i = lam_i`` and ``W_i,permutation(i) = 1 - lam_i``; their sum 1 where the two are one.

    Args:
        permutation: the partner of each row, ``(batch,)``.
        lam: the share of the row itself, within [0, 1], ``(batch,)``.

    Raises:
        ShapeError: lam is not one number for each row.
        InputError: lam is outside [0, 1], or permutation is none.

    >>> Mixed(torch.tensor([1, 0]), torch.tensor([0.75, 1.0])).dense(torch.zeros(1))
    tensor([[0.7500, 0.2500],
            [0.0000, 1.0000]])
    """

    permutation: Tensor
    lam: Tensor
    place: Identity | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "permutation", labels_of("permutation", self.permutation))
        check_mixture(self.permutation, self.lam)

    @property
    def _own(self) -> Identity:
        return Identity(len(self.permutation)) if self.place is None else self.place

    @property
    def shape(self) -> tuple[int, int]:
        return self._own.shape

    def matmul(self, keys: Tensor) -> Tensor:
        lam, own = self.lam.to(keys.dtype)[:, None], self._own.matmul(keys)
        return lam * own + (1 - lam) * own[self.permutation]

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        lam = self.lam.to(queries.dtype)[:, None]
        return self._own.transposed_matmul((lam * queries).index_add(0, self.permutation, (1 - lam) * queries))

    def gathered(self, processes: Processes) -> Mixed:
        return replace(self, place=self._own.gathered(processes))

"""Weight matrices with structure: identity, equal labels, similarity of features, and mixtures.

None of them is stored in full. An objective needs only the products of W with features. These cost O(batch x dim) for
every class below: labels sum rows per class, a mixture has two parts, and a similarity of features is itself a product.
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
from mmcl.objectives.kernel.labels import flags_of, labels_of, mixture_of
from mmcl.objectives.kernel.unit import unit


@dataclass(frozen=True, eq=False)
class Identity(Pairs):
    """Row i of one side is the positive of row i of the other.

    Args:
        count: number of rows of each side.
        shift: the positive is row i + shift, modulo ``count``. For two stacked views, the shift is half of the rows.
        differ: all other rows instead.
        offset: column of the first row's positive.
        keys: number of keys; None for ``count``.

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

    @property
    def mirrored(self) -> bool:
        """Whether the samples are two stacked views, each the positive of the other."""
        return not self.differ and self.keys is None and 0 < 2 * self.shift == self.count

    def gathered(self, processes: Processes) -> Identity:
        return replace(self, offset=processes.own.start, keys=processes.total)

    def complement(self) -> Identity:
        """Return the complement: 1 where W is 0, and 0 where W is 1."""
        return replace(self, differ=not self.differ)

    def labelled(self, device: torch.device) -> SameLabel:
        """Return the same matrix as SameLabel, with a unique label per sample."""
        keys = torch.arange(self.shape[1], device=device)
        if self.keys is None and not self.shift:
            return SameLabel(keys, differ=self.differ)
        return SameLabel(keys[self.offset : self.offset + self.count].roll(-self.shift), keys, differ=self.differ)


@dataclass(frozen=True, eq=False)
class SameLabel(Pairs):
    """The keys with a query's label are its positives.

    Args:
        labels: labels of the queries, ``(queries,)``, integers or booleans.
        key_labels: labels of the keys, ``(keys,)``; None if queries and keys are the same samples.
        exclude_self: exclude each sample's pair with itself, if queries and keys are the same samples.
        differ: use different labels instead of equal ones: True for all keys, or boolean ``(keys,)``.
        own: diagonal that ``exclude_self`` excludes.

    Raises:
        ShapeError: not one label per row.
        LabelError: labels are not integers.
        ConfigError: ``exclude_self`` together with ``key_labels`` or ``differ``.

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
                raise ConfigError("exclude_self has no meaning with key_labels or differ: leave it out")
            object.__setattr__(self, "own", Identity(len(self.labels)))

    @property
    def of_keys(self) -> Tensor:
        """Labels of the keys, ``(keys,)``."""
        return self.labels if self.key_labels is None else self.key_labels

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.labels), len(self.of_keys)

    def differs(self, device: torch.device) -> Tensor:
        """Return whether each key counts for queries with other labels, boolean ``(keys,)``."""
        if isinstance(self.differ, Tensor):
            return self.differ.to(device)
        return torch.full((self.shape[1],), self.differ, device=device)

    def matmul(self, keys: Tensor) -> Tensor:
        if self.differ is False:
            same = _label_sums(keys, self.of_keys, self.labels)
            return same if self.own is None else same - self.own.matmul(keys)
        differ = self.differs(keys.device)[:, None]
        others = keys.masked_fill(~differ, 0).sum(0)
        return others + _label_sums(torch.where(differ, -keys, keys), self.of_keys, self.labels)

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        same = _label_sums(queries, self.labels, self.of_keys)
        if self.differ is False:
            return same if self.own is None else same - self.own.transposed_matmul(queries)
        differ = self.differs(queries.device)[:, None]
        return torch.where(differ, queries.sum(0) - same, same)

    def gathered(self, processes: Processes) -> SameLabel:
        return replace(
            self,
            key_labels=processes.gather(self.of_keys),
            differ=processes.gather(self.differ) if isinstance(self.differ, Tensor) else self.differ,
            own=None if self.own is None else self.own.gathered(processes),
        )

    def complement(self) -> SameLabel:
        """Return the complement: 1 where W is 0, and 0 where W is 1."""
        if self.exclude_self:
            raise ConfigError("SameLabel(exclude_self=True) has no complement: use SameLabel(labels).complement()")
        return replace(self, differ=~self.differ if isinstance(self.differ, Tensor) else not self.differ)


def _label_sums(rows: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the sum of the rows with each wanted label, ``(wanted, dim)``."""
    if not len(rows):
        return rows.new_zeros(len(wanted), rows.shape[1])
    # A label's index is its first position in sorted order, so that no shape depends on the values (torch.compile).
    ordered = labels.sort().values
    indices = torch.searchsorted(ordered, labels)
    sums = torch.zeros_like(rows).index_add(0, indices, rows)
    if wanted is labels:
        return sums[indices]
    positions = torch.searchsorted(ordered, wanted).clamp(max=len(ordered) - 1)
    return sums[positions].masked_fill((ordered[positions] != wanted)[:, None], 0)


@dataclass(frozen=True, eq=False)
class Similarity(Pairs):
    """The weight of a key is the similarity of its features to those of the query: ``W_ij = (1 + cos(f_i, g_j)) / 2``.

    The weights of CWCL (Srinivasa et al., arXiv 2309.14580), in [0, 1].

    Args:
        features: features f of the queries, ``(queries, dim)``.
        key_features: features g of the keys, ``(keys, dim)``; None if they are the same.

    Raises:
        ShapeError, InputError: invalid features, see :func:`~mmcl.objectives.kernel.inputs.check_features`.

    >>> Similarity(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).dense(torch.zeros(1))
    tensor([[1.0000, 0.5000],
            [0.5000, 1.0000]])
    """

    features: Tensor
    key_features: Tensor | None = None
    _units: tuple[Tensor, Tensor] = field(init=False, repr=False)  # unit-length features of queries and keys

    def __post_init__(self) -> None:
        check_features(features=self.features, key_features=self._keys())
        own = unit(*precise(self.features))
        other = own if self.key_features is None else unit(*precise(self.key_features))
        object.__setattr__(self, "_units", (own, other))  # no cached_property: its lock stops torch.compile

    def _keys(self) -> Tensor:
        return self.features if self.key_features is None else self.key_features

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.features), len(self._keys())

    def matmul(self, keys: Tensor) -> Tensor:
        targets, sources = (side.to(keys.dtype) for side in self._units)
        return (keys.sum(0) + targets @ (sources.T @ keys)) / 2

    def transposed_matmul(self, queries: Tensor) -> Tensor:
        sources, targets = (side.to(queries.dtype) for side in self._units)
        return (queries.sum(0) + targets @ (sources.T @ queries)) / 2

    def row_sums(self, like: Tensor) -> Tensor:
        return self._without_noise(super().row_sums(like), self.shape[1])

    def column_sums(self, like: Tensor) -> Tensor:
        return self._without_noise(super().column_sums(like), self.shape[0])

    @staticmethod
    def _without_noise(sums: Tensor, count: int) -> Tensor:
        """Set sums of rounding noise to 0; a row of opposite features has exact weights of 0."""
        return torch.where(sums <= 4 * count * torch.finfo(sums.dtype).eps, 0, sums)  # NaN stays

    def gathered(self, processes: Processes) -> Similarity:
        return Similarity(self.features, processes.gather(self._keys()))


@dataclass(frozen=True, eq=False)
class Mixed(Pairs):
    """The weights of a mixture's two components are its mixing coefficients.

    ``W_i,i = lam_i`` and ``W_i,permutation(i) = 1 - lam_i``. If a row is its own partner, the two add up to 1.

    Args:
        permutation: partner of each row, ``(batch,)``.
        lam: mixing coefficient of the row itself, in [0, 1], ``(batch,)``.
        place: position of this process's rows among all keys.

    Raises:
        ShapeError: not one coefficient per row.
        LabelError: ``permutation`` is not a tensor of integers.
        InputError: a coefficient outside [0, 1], or ``permutation`` is not a permutation. On devices whose values are
            not checked at once, these make the loss NaN.

    >>> Mixed(torch.tensor([1, 0]), torch.tensor([0.75, 1.0])).dense(torch.zeros(1))
    tensor([[0.7500, 0.2500],
            [0.0000, 1.0000]])
    """

    permutation: Tensor
    lam: Tensor
    place: Identity | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        permutation, lam = mixture_of(labels_of("permutation", self.permutation), self.lam)
        object.__setattr__(self, "permutation", permutation)
        object.__setattr__(self, "lam", lam)

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

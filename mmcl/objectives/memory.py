"""State of objectives between batches: queues of embeddings, also in clusters, and numbers per sample, all buffers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.gather import Processes
from mmcl.objectives.kernel.inputs import checks_values, poisoned
from mmcl.objectives.kernel.labels import labels_of
from mmcl.objectives.kernel.pairs import SameLabel
from mmcl.objectives.kernel.tiles import tile_size
from mmcl.objectives.kernel.transport import transport_plan
from mmcl.objectives.kernel.unit import unit
from mmcl.objectives.temperature import number_of


class Queue(nn.Module):
    """The latest embeddings, first in, first out, as in MoCo (He et al., arXiv 1911.05722).

    The queue starts empty, and takes the dimension of the first rows. Rows and their number are buffers, so that they
    are saved, moved and resumed with the objective. Rows are stored in the type of the buffer, float32 unless
    converted.

    Args:
        size: largest number of rows, 1 or more.

    Raises:
        InputError: a size that is not an integer of 1 or more.

    >>> queue = Queue(3)
    >>> queue.push(torch.tensor([[1.0], [2.0]]))
    >>> queue.push(torch.tensor([[3.0], [4.0]]))
    >>> queue.rows.flatten().tolist(), queue.filled.tolist()
    ([4.0, 2.0, 3.0], [True, True, True])
    """

    rows: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = whole("queue", size)
        self.register_buffer("rows", torch.zeros(self.size, 0))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @property
    def filled(self) -> Tensor:
        """Whether each place holds a row, boolean ``(size,)``."""
        return torch.arange(self.size, device=self.count.device) < self.count

    def compared(self, queries: int) -> SameLabel:
        """Return the denominator that compares each query with all rows in the queue, ``(queries, size)``."""
        return SameLabel(self.count.new_ones(queries), self.filled)

    def snapshot(self) -> Tensor:
        """Return a copy of the rows, ``(size, dim)``, which a later push does not change."""
        return self.rows.clone()

    def prepare(self, rows: Tensor) -> None:
        """Check that rows fit into the queue; the first rows give it their dimension.

        Raises:
            ShapeError: rows of another dimension, or more rows than the queue holds.
        """
        if not self.rows.shape[1]:
            self._set_dim(rows.shape[-1])
        if rows.dim() != 2 or rows.shape[1] != self.rows.shape[1]:
            raise ShapeError(
                f"got rows {tuple(rows.shape)} for a queue of dim {self.rows.shape[1]}: give each encoder its own queue"
            )
        if len(rows) > self.size:
            raise ShapeError(f"got {len(rows)} rows for a queue of {self.size}: make the queue larger than the batch")

    @torch.no_grad()
    def push(self, rows: Tensor, processes: Processes | None = None) -> None:
        """Replace the oldest rows.

        Args:
            rows: ``(batch, dim)``, at most as many as the queue holds.
            processes: also push the rows of all other processes; None for this process only.

        Raises:
            ShapeError: rows of another dimension, or more rows than the queue holds.
        """
        rows = rows.detach()
        rows = processes.gather(rows) if processes else rows
        self.prepare(rows)
        places = (self.count + torch.arange(len(rows), device=self.count.device)) % self.size
        self.rows.index_copy_(0, places, rows.to(self.rows))
        self.count.add_(len(rows))  # no assignment, which torch.compile may refuse

    def _set_dim(self, dim: int) -> None:
        self.rows = self.rows.new_zeros(self.size, dim)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: object) -> None:
        # A new queue has no dimension yet.
        saved = state_dict.get(f"{prefix}rows")
        if saved is not None and saved.dim() == 2 and 0 in (saved.shape[1], self.rows.shape[1]):
            self._set_dim(saved.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args)


class ClusteredQueue(Queue):
    """A queue of unit-length embeddings in clusters of about equal size, DyCE of BECLR.

    The prototype of a cluster is the mean of its rows, or the former one if it has none. Each call of :meth:`push`
    assigns its rows to prototypes by optimal transport, which gives all clusters an equal share. Until the queue has
    been full, prototypes are rows at equal distances, and each row is in the cluster of the nearest one.

    Poulakakis-Daktylidis and Jamali-Rad 2024 (ICLR, BECLR). Differs from the paper: clusters start from rows instead of
    k-means, and are not made again every 60 epochs. The released code passes the distance to Sinkhorn's algorithm with
    the wrong sign, which assigns rows to the farthest prototypes (``as_released``).

    Args:
        size: largest number of rows.
        clusters: number of clusters, at most ``size``.
        as_released: assign rows to the farthest prototypes.

    Raises:
        InputError: a size that is not an integer of 1 or more, or more clusters than rows.

    >>> queue = ClusteredQueue(4, clusters=2)
    >>> queue.push(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]))
    >>> queue.labels.tolist(), queue.neighbours(torch.tensor([[0.8, 0.6]]), 1).tolist()
    ([0, 0, 1, 1], [[[0.800000011920929, 0.6000000238418579]]])
    """

    prototypes: Tensor
    labels: Tensor

    def __init__(self, size: int, clusters: int, *, as_released: bool = False) -> None:
        super().__init__(size)
        self.clusters, self.as_released = whole("clusters", clusters), as_released
        if self.clusters > self.size:
            raise InputError(f"clusters is {clusters} for {size} rows, expected at most one for each row")
        self.register_buffer("prototypes", torch.zeros(self.clusters, 0))
        self.register_buffer("labels", torch.zeros(self.size, dtype=torch.long))

    @torch.no_grad()
    def push(self, rows: Tensor, processes: Processes | None = None) -> None:
        """Replace the oldest rows, and update clusters; see :meth:`Queue.push`.

        Args:
            rows: of unit length, ``(batch, dim)``.
            processes: as in :meth:`Queue.push`.
        """
        rows = processes.gather(rows.detach()) if processes else rows.detach()
        self.prepare(rows)
        if not len(rows):
            return
        places, was_full = (self.count + torch.arange(len(rows), device=rows.device)) % self.size, self.filled[-1]
        distances = _distances(rows.to(self.rows), self.prototypes)
        plan = transport_plan(-distances if self.as_released else distances, epsilon=0.1, iterations=10)
        labels = self.labels.index_copy(0, places, plan.argmax(1))
        super().push(rows)
        held = self.count.clamp(max=self.size)
        starts = self.rows[torch.arange(self.clusters, device=held.device) * held // self.clusters]
        nearest = _distances(self.rows, starts).argmin(1)
        self.labels.copy_(torch.where(was_full, labels, nearest))
        flags = self.filled.to(self.rows)
        counts = self._sums(flags[:, None])
        means = self._sums(self.rows * flags[:, None]) / counts.clamp(min=1)
        self.prototypes.copy_(torch.where(counts > 0, means, torch.where(was_full, self.prototypes, starts)))

    @torch.no_grad()
    def neighbours(self, queries: Tensor, count: int, block_size: int | None = None) -> Tensor:
        """Return the most similar rows in the cluster of each query's nearest prototype, ``(queries, count, dim)``.

        A cluster of fewer rows is replaced by the whole queue. In an empty queue, they are zero.

        Args:
            queries: of unit length, ``(queries, dim)``.
            count: number of rows for each query, at most those of the queue.
            block_size: queries that are compared at a time; None for automatic.
        """
        self.prepare(queries[: self.size])
        rows, found = self.rows.to(queries), []
        own = (queries @ unit(self.prototypes.to(queries)).T).argmax(1)
        small = self._sums(self.filled.to(queries)[:, None])[:, 0] < count
        size = tile_size(queries.device, block_size)
        for block, cluster in zip(queries.split(size), own.split(size), strict=True):
            allowed = ((self.labels == cluster[:, None]) | small[cluster][:, None]) & self.filled
            similarities = (block @ rows.T).masked_fill(~allowed, -torch.inf)
            found.append(rows[similarities.topk(count, dim=1).indices])
        return torch.cat(found)

    def _sums(self, values: Tensor) -> Tensor:
        """Return the sum of values over the rows of each cluster, ``(clusters, dim)``."""
        return values.new_zeros(self.clusters, values.shape[1]).index_add_(0, self.labels, values)

    def _set_dim(self, dim: int) -> None:
        super()._set_dim(dim)
        self.prototypes = self.prototypes.new_zeros(self.clusters, dim)


def _distances(rows: Tensor, others: Tensor) -> Tensor:
    squares = rows.square().sum(1)[:, None] + others.square().sum(1) - 2 * rows @ others.T
    return squares.clamp(min=0).sqrt()


class SampleNumbers(nn.Module):
    """Numbers for each sample of a data set, such as temperatures or moving averages.

    Each name is a buffer ``(samples,)``, saved, moved and resumed with the objective.

    Args:
        samples: number of samples of the data set, 1 or more.
        **initial: initial value of each number, by name.

    Raises:
        InputError: ``samples`` is not an integer of 1 or more.

    >>> numbers = SampleNumbers(4, average=0.5)
    >>> numbers.write(numbers.places(torch.tensor([2])), average=torch.tensor([2.0]))
    >>> numbers.read("average", torch.tensor([1, 2]))
    tensor([0.5000, 2.0000])
    """

    def __init__(self, samples: int, **initial: float) -> None:
        super().__init__()
        self.samples = whole("samples", samples)
        for name, value in initial.items():
            self.register_buffer(name, torch.full((self.samples,), float(value)))

    def places(self, rows: Tensor, count: int | None = None) -> Tensor:
        """Return validated indices of samples, int64 ``(batch,)``.

        On devices whose values are not checked at once, an index that is out of range is clamped, and :meth:`read`
        returns NaN for it.

        Args:
            rows: index of each sample in its data set.
            count: expected number of rows; None for any.

        Raises:
            ShapeError, LabelError: not one integer per row.
            InputError: an index that is out of range.
        """
        rows = labels_of("rows", rows, count)
        if checks_values(rows) and len(rows):
            low, high = (int(each) for each in rows.aminmax())
            if low < 0 or high >= self.samples:
                raise InputError(
                    f"rows holds {low if low < 0 else high}, expected 0 to {self.samples - 1}: set samples to the "
                    "number of samples of the data set"
                )
        return rows

    def read(self, name: str, rows: Tensor) -> Tensor:
        """Return a number of each sample, ``(batch,)``, NaN for an index that is out of range."""
        values = self.get_buffer(name)[rows.clamp(0, self.samples - 1)]
        return values if checks_values(values) else poisoned(values, (rows >= 0) & (rows < self.samples))

    @torch.no_grad()
    def write(self, rows: Tensor, processes: Processes | None = None, **values: Tensor) -> None:
        """Replace numbers of samples; of equal indices, any one counts.

        Args:
            rows: indices from :meth:`places`.
            processes: also write the numbers of all other processes' samples; None for this process only.
            **values: new numbers ``(batch,)``, by name.
        """
        rows = processes.gather(rows) if processes else rows
        for name, each in values.items():
            each = processes.gather(each) if processes else each
            buffer = self.get_buffer(name)
            buffer.index_copy_(0, rows.clamp(0, self.samples - 1), each.to(buffer))


def whole(name: str, value: int) -> int:
    """Return an integer of 1 or more after validation.

    Raises:
        InputError: not an integer, or below 1.

    >>> whole("dim", 0)
    Traceback (most recent call last):
    ...
    mmcl.errors.InputError: dim is 0, expected an integer of 1 or more
    """
    number = number_of(value)
    if number is None or number != int(number) or number < 1:
        raise InputError(f"{name} is {value!r}, expected an integer of 1 or more")
    return int(number)

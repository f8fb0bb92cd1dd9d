"""Tests of queues, of clusters in them, and of numbers per sample."""

from __future__ import annotations

import pytest
import torch
from waits import elsewhere, no_waits

from mmcl.errors import CheckpointError, InputError, LabelError, ShapeError
from mmcl.files.loading import load_state
from mmcl.objectives import ClusteredQueue, Queue, SampleNumbers


def test_a_queue_holds_the_latest_rows():
    queue, pushed = Queue(7), torch.arange(48.0).view(24, 2)
    for start in range(0, 24, 3):
        queue.push(pushed[start : start + 3])
        latest = pushed[max(0, start + 3 - 7) : start + 3]
        held = queue.rows[queue.filled]
        assert sorted(map(tuple, held.tolist())) == sorted(map(tuple, latest.tolist()))


def test_an_empty_queue_has_no_row_that_counts():
    queue = Queue(4)
    assert not queue.filled.any() and not queue.compared(3).dense(torch.zeros(1)).any()
    queue.push(torch.ones(1, 2))
    assert queue.compared(3).dense(torch.zeros(1)).sum(1).tolist() == [1, 1, 1]


def test_a_queue_is_resumed_to_the_last_digit():
    one, other = Queue(5), Queue(5)
    one.push(torch.randn(4, 3))
    load_state(other, one.state_dict(), "the queue")
    rows = torch.randn(3, 3)
    for queue in (one, other):
        queue.push(rows)
    assert torch.equal(one.rows, other.rows) and int(other.count) == 7


def test_a_push_does_not_change_a_snapshot_nor_keep_a_graph():
    queue = Queue(2)
    queue.push(torch.zeros(1, 1))
    held = queue.snapshot()
    queue.push(torch.ones(2, 1, requires_grad=True))
    assert not held.any() and not queue.rows.requires_grad and bool(queue.rows.all())


def test_neither_waits_for_a_device():
    queue, numbers, rows = Queue(5), SampleNumbers(9, average=1.0), torch.tensor([8, 0])
    with no_waits():
        queue.push(torch.ones(2, 3))
        queue.compared(4)
        numbers.write(numbers.places(rows), average=numbers.read("average", rows) + 1)
    assert numbers.average.tolist() == [2, *[1] * 7, 2]


@pytest.mark.parametrize(("rows", "text"), [(torch.ones(6, 3), "queue of 5"), (torch.ones(2, 4), "dim 3")])
def test_rows_that_do_not_fit_a_queue_are_an_error(rows, text):
    queue = Queue(5)
    queue.push(torch.ones(1, 3))
    with pytest.raises(ShapeError, match=text):
        queue.push(rows)


def test_a_queue_of_another_size_is_not_loaded():
    queue = Queue(5)
    queue.push(torch.ones(1, 3))
    with pytest.raises(CheckpointError, match="the queue"):
        load_state(Queue(4), queue.state_dict(), "the queue")


def test_the_state_of_an_unused_queue_is_loaded():
    queue = Queue(5)
    queue.push(torch.ones(1, 3))
    queue.load_state_dict(Queue(5).state_dict())
    assert int(queue.count) == 0
    queue.push(torch.ones(1, 7))


@pytest.mark.parametrize("bad", [[9], [-1], [0, 100]])
def test_an_index_out_of_range_is_an_error_and_reads_nan_where_values_are_not_checked(bad):
    numbers, rows = SampleNumbers(9, average=1.0), torch.tensor(bad)
    with pytest.raises(InputError, match=f"{bad[-1]}, expected 0 to 8"):
        numbers.places(rows)
    with elsewhere():
        assert numbers.read("average", numbers.places(rows)).isnan()[-1]


def test_indices_must_be_one_integer_per_row():
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        SampleNumbers(9).places(torch.tensor([1, 2]), count=3)
    with pytest.raises(LabelError, match="float32"):
        SampleNumbers(9).places(torch.tensor([1.0]))


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "many"])
def test_invalid_sizes_are_an_error(size):
    for make in (lambda: Queue(size), lambda: SampleNumbers(size)):
        with pytest.raises(InputError, match="expected an integer of 1 or more"):
            make()


def blobs(rows, clusters=6, seed=0):
    """Return unit-length rows in tight groups, and the group of each."""
    generator = torch.Generator().manual_seed(seed)
    groups = torch.arange(rows) % clusters
    noise = torch.randn(rows, clusters + 2, generator=generator, dtype=torch.float64) / 20
    return torch.nn.functional.normalize(torch.eye(clusters, clusters + 2)[groups] + noise, dim=1), groups


def clustered(size=60, clusters=6, **settings):
    queue = ClusteredQueue(size, clusters, **settings)
    queue.rows = queue.rows.double()
    queue.prototypes = queue.prototypes.double()
    return queue


def test_clusters_find_groups_and_prototypes_are_their_means():
    queue, (rows, groups) = clustered(), blobs(120)
    # The first rows are sorted by group, so that clusters start in different groups. Later batches are balanced.
    order = torch.cat([torch.arange(60).view(10, 6).T.flatten(), torch.arange(60, 120)])
    for part in order.split(12):
        queue.push(rows[part])
    held = groups[[int((rows - row).square().sum(1).argmin()) for row in queue.rows]]
    for cluster in range(6):
        own = queue.labels == cluster
        assert len(held[own].unique()) == 1 and int(own.sum()) == 10
        assert torch.allclose(queue.prototypes[cluster], queue.rows[own].mean(0))


@pytest.mark.parametrize("as_released", [False, True])
def test_full_clusters_take_the_nearest_rows_and_as_released_the_farthest(as_released):
    queue, (rows, _) = clustered(as_released=as_released), blobs(60)
    queue.push(rows.view(10, 6, 8).transpose(0, 1).flatten(0, 1))
    former = queue.prototypes.clone()
    queue.push(blobs(60, seed=1)[0])
    own = (queue.rows - former[queue.labels]).norm(dim=1)
    nearest = torch.cdist(queue.rows, former).amin(1)
    assert torch.isclose(own, nearest).float().mean().item() == (0 if as_released else 1)


def test_an_empty_cluster_keeps_its_prototype():
    queue = clustered(size=4, clusters=2)
    queue.push(torch.eye(8, dtype=torch.float64)[:4])
    queue.prototypes[1] = torch.full((8,), 9.0, dtype=torch.float64)
    queue.labels.zero_()
    queue.push(torch.eye(8, dtype=torch.float64)[:1])  # of two equal shares of one row, the first cluster is nearest
    assert queue.labels.tolist() == [0] * 4 and bool((queue.prototypes[1] == 9).all())


def test_neighbours_are_the_most_similar_rows_of_the_nearest_cluster():
    queue, (rows, _) = clustered(), blobs(60)
    queue.push(rows.view(10, 6, 8).transpose(0, 1).flatten(0, 1))
    queries = blobs(7, seed=2)[0]
    for block_size in (None, 2):
        found = queue.neighbours(queries, 4, block_size)
        for query, near in zip(queries, found, strict=True):
            cluster = max(range(6), key=lambda c: float(query @ queue.prototypes[c] / queue.prototypes[c].norm()))
            own = queue.rows[queue.labels == cluster]
            assert torch.equal(near, own[(own @ query).argsort(descending=True)[:4]])
    wide = queue.neighbours(queries, 20)  # clusters have ten rows
    assert torch.equal(wide[0], queue.rows[(queue.rows @ queries[0]).argsort(descending=True)[:20]])


def test_a_clustered_queue_is_resumed_to_the_last_digit_and_waits_for_no_device():
    one, other, (rows, _) = clustered(), clustered(), blobs(90)
    with no_waits():
        one.push(rows[:40])
        one.push(rows[40:70])
        one.neighbours(rows[:3], 5)
    load_state(other, one.state_dict(), "the queue")
    for queue in (one, other):
        queue.push(rows[70:])
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_more_clusters_than_rows_are_an_error():
    with pytest.raises(InputError, match="clusters is 9 for 8"):
        ClusteredQueue(8, 9)

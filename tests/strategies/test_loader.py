import pytest
import torch

from mmcl import distributed
from mmcl.batch import Batch
from mmcl.errors import StreamError
from mmcl.seeding import seed_everything
from mmcl.strategies.loader import BatchLoader, on_device


class OneByOne:
    """A data set without its method ``batch``."""

    def __init__(self, dataset):
        self.classes, self.labels, self.texts = dataset.classes, dataset.labels, dataset.texts
        self._dataset = dataset

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, index):
        return self._dataset[index]


def test_indexing_and_a_data_loader_give_the_same_batches(digits):
    rows, flags = torch.arange(5, 90), torch.arange(85) % 3 == 0
    batches = []
    for source in (digits[0], OneByOne(digits[0])):
        seed_everything(3)
        batches.append(list(BatchLoader(source, rows, is_rehearsal=flags, batch_size=16)))
    assert len(batches[0]) == len(batches[1]) == 6
    for fast, slow in zip(*batches, strict=True):
        assert fast.keys() == slow.keys()
        for name in fast:
            assert torch.equal(fast[name], slow[name]) if torch.is_tensor(fast[name]) else fast[name] == slow[name]


def test_each_epoch_has_every_row_once_with_its_flag_in_a_new_order(digits):
    rows, flags = torch.arange(10, 60), torch.arange(50) < 20
    loader = BatchLoader(digits[0], rows, is_rehearsal=flags, batch_size=8)
    orders = []
    for _ in range(2):
        seen = [
            (int(r), bool(f)) for batch in loader for r, f in zip(batch["rows"], batch["is_rehearsal"], strict=True)
        ]
        assert sorted(seen) == [(row, row < 30) for row in range(10, 60)]
        orders.append(seen)
    assert orders[0] != orders[1]


def test_without_shuffling_rows_keep_their_order(digits):
    rows = torch.tensor([7, 3, 5])
    (batch,) = BatchLoader(digits[0], rows, shuffle=False, batch_size=3)
    assert batch["rows"].tolist() == [7, 3, 5]
    assert batch["label"].tolist() == [digits[0].labels[row] for row in (7, 3, 5)]


class OfLengths:
    """Samples of the given lengths."""

    classes, lengths = ("any",), torch.tensor([7, 1, 5, 3, 9, 2, 8, 4, 6, 0, 11, 10])
    labels, texts = [0] * 12, ["any"] * 12

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return {"label": 0, "size": int(self.lengths[index])}


def spread(batches):
    return sum(int(batch["size"].max() - batch["size"].min()) for batch in batches)


def test_a_bucket_groups_samples_by_length_and_keeps_all():
    seed_everything(0)
    flags = torch.arange(12) % 2 == 0
    first, second = (
        list(BatchLoader(OfLengths(), torch.arange(12), is_rehearsal=flags, batch_size=3, bucket=4)) for _ in range(2)
    )
    for batches in (first, second):
        assert sorted(torch.cat([batch["rows"] for batch in batches]).tolist()) == list(range(12))
        assert spread(batches) == 4 * 2, "all in one bucket: each batch has three lengths in a row"
        assert all(torch.equal(batch["is_rehearsal"], batch["rows"] % 2 == 0) for batch in batches)
    assert [batch["rows"].tolist() for batch in first] != [batch["rows"].tolist() for batch in second]
    halves = list(BatchLoader(OfLengths(), torch.arange(12), batch_size=3, bucket=2))
    assert 4 * 2 <= spread(halves) < spread(BatchLoader(OfLengths(), torch.arange(12), batch_size=3))


def test_without_shuffling_a_bucket_sorts_and_keeps_the_short_batch():
    loader = BatchLoader(OfLengths(), torch.arange(11), batch_size=4, shuffle=False, bucket=9)
    sizes = [batch["size"].tolist() for batch in loader]
    assert sizes == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 11]] and len(loader) == 3


@pytest.fixture
def three(digits, monkeypatch):
    """Function that returns, for each of three processes, its batches and the sizes of the global batches."""
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(distributed, "broadcast_object", lambda value: value)

    def _three(rows, **settings):
        parts = []
        for rank in range(3):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            seed_everything(5)
            loader = BatchLoader(digits[0], torch.arange(rows), sharded=True, **settings)
            parts.append([(batch["rows"].tolist(), len(loader.global_is_rehearsal)) for batch in loader])
            assert len(loader) == max(map(len, parts))
        return parts

    return _three


@pytest.mark.parametrize("bucket", [1, 3])
def test_every_batch_is_sharded_over_processes(three, digits, bucket):
    digits[0].lengths = torch.arange(len(digits[0])) if bucket > 1 else None
    try:
        parts = three(50, batch_size=8, bucket=bucket)  # the last batch has two samples and is merged
    finally:
        del digits[0].lengths
    assert [len(part) for part in parts] == [6, 6, 6]
    assert sorted(row for part in parts for rows, _ in part for row in rows) == list(range(50))
    for batches in zip(*parts, strict=True):
        sizes = [len(rows) for rows, _ in batches]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1 and {whole for _, whole in batches} == {sum(sizes)}
    assert sorted(whole for _, whole in parts[0]) == [8, 8, 8, 8, 8, 10]


def test_in_evaluation_a_shard_may_be_empty(three):
    parts = three(17, batch_size=16, shuffle=False)
    assert [sum(len(rows) for rows, _ in part) for part in parts] == [7, 5, 5] and [len(part) for part in parts] == [
        2,
        1,
        1,
    ]


def test_fewer_samples_than_processes_raise(three):
    with pytest.raises(StreamError, match="2 samples for 3 processes"):
        three(2, batch_size=8)


def test_entries_that_the_cpu_reads_stay_there():
    batch = Batch(label=torch.zeros(2), rows=torch.tensor([4, 5]), text=["a", "b"], audio_missing=torch.zeros(2))
    there = on_device(batch, torch.device("meta"))
    assert list(there) == list(batch) and there["text"] == ["a", "b"]
    devices = {name: value.device.type for name, value in there.items() if isinstance(value, torch.Tensor)}
    assert devices == {"label": "meta", "rows": "cpu", "audio_missing": "cpu"}

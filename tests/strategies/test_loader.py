import torch

from mmcl.seeding import seed_everything
from mmcl.strategies.loader import BatchLoader


class OneByOne:
    """The same data set without its fast path."""

    def __init__(self, dataset):
        self.classes, self.labels, self.texts = dataset.classes, dataset.labels, dataset.texts
        self._dataset = dataset

    def __len__(self):
        return len(self._dataset)

    def __getitem__(self, index):
        return self._dataset[index]


def test_fast_path_and_data_loader_give_the_same_batches(digits):
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


def test_every_row_once_with_its_flag_in_a_new_order_each_time(digits):
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


def test_in_order_without_shuffling(digits):
    rows = torch.tensor([7, 3, 5])
    (batch,) = BatchLoader(digits[0], rows, shuffle=False, batch_size=3)
    assert batch["rows"].tolist() == [7, 3, 5]
    assert batch["label"].tolist() == [digits[0].labels[row] for row in (7, 3, 5)]

import pytest
import torch

from mmcl.data.paired import PairedDataset
from mmcl.errors import DataError

TEXTS = ["on", "off", "on", "up", "off", "on"]


class Said:
    classes = ("speech",)

    def __init__(self, texts=TEXTS):
        self.texts, self.labels = texts, [0] * len(texts)

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, row):
        return {"text": self.texts[row], "audio": torch.full((row + 2,), float(row)), "row": row}


class Fast(Said):
    """Batches in one step."""

    def batch(self, rows):
        from mmcl.batch import Batch

        return Batch(row=rows, features=rows[:, None].float())


@pytest.mark.parametrize("second", [Said(), Fast()])
def test_rows_of_both_sides_match(second):
    first, other = PairedDataset(Said(), second).batch(torch.tensor([4, 0, 3]))
    assert first["row"].tolist() == other["row"].tolist() == [4, 0, 3]
    assert first["text"] == ["off", "on", "up"] and first["audio_lengths"].tolist() == [6, 2, 5]


def test_shared_data_set_is_read_once():
    said = Said()
    first, second = PairedDataset(said, said).batch(torch.tensor([1, 2]))
    assert first is second


def test_shuffled_returns_all_rows_or_one_per_text():
    torch.manual_seed(0)
    pairs, drawn = PairedDataset(Said(), Said()), set()
    assert sorted(pairs.shuffled().tolist()) == list(range(6))
    for _ in range(60):
        rows = pairs.shuffled(distinct=True).tolist()
        assert sorted(TEXTS[row] for row in rows) == ["off", "on", "up"]
        drawn |= set(rows)
    assert drawn == set(range(6))
    orders = {tuple(TEXTS[row] for row in pairs.shuffled(distinct=True).tolist()) for _ in range(60)}
    assert len(orders) == 6  # any text may come first


def test_lengths_are_those_of_the_longer_side():
    one, other = Said(), Fast()
    assert PairedDataset(one, other).lengths is None
    one.lengths, other.lengths = torch.tensor([1, 5, 2, 2, 2, 2]), torch.tensor([3, 3, 3, 3, 3, 1])
    assert PairedDataset(one, other).lengths.tolist() == [3, 5, 3, 3, 3, 2]


def test_the_first_of_each_text():
    assert PairedDataset(Said(), Said()).first_of_each_text().tolist() == [0, 1, 3]


def test_a_seed_fixes_the_order():
    pairs = PairedDataset(Said(), Said())
    torch.manual_seed(1)
    first = pairs.shuffled(distinct=True)
    torch.manual_seed(1)
    assert torch.equal(pairs.shuffled(distinct=True), first)


def test_unpaired_data_sets_raise():
    with pytest.raises(DataError, match="6 samples and the second 2"):
        PairedDataset(Said(), Said(["on", "off"]))
    with pytest.raises(DataError, match="pair 1 has text 'off' on one side and 'up'"):
        PairedDataset(Said(["on", "off"]), Said(["on", "up"]))
    with pytest.raises(DataError, match="0 pairs"):
        PairedDataset(Said([]), Said([]))

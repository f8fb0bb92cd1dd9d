import pytest
import torch

from mmcl.data import Mnist, SpokenDigits
from mmcl.data.selection import Selection, sample_ids
from mmcl.errors import DataError


@pytest.fixture(scope="module")
def digits(data_dir):
    return Mnist(data_dir / "MNIST", "valid")


class Listed:
    """A data set with ids and without batches."""

    classes, labels, texts, ids = ("a", "b"), [0, 1, 1], ["x", "y", "z"], ["one", "two", "three"]

    def __len__(self):
        return 3

    def __getitem__(self, row):
        return {"id": self.ids[row], "label": self.labels[row], "text": self.texts[row]}


def test_samples_match_the_rows(digits):
    chosen = Selection(digits, [30, 2, 7])
    assert len(chosen) == 3 and list(chosen.classes) == list(digits.classes)
    assert chosen.labels == [digits.labels[row] for row in (30, 2, 7)]
    assert chosen.texts == [digits.texts[row] for row in (30, 2, 7)]
    assert chosen.ids == ["valid-30", "valid-2", "valid-7"] and chosen[1]["id"] == "valid-2"
    batch = chosen.batch(torch.tensor([2, 0]))
    expected = digits.batch(torch.tensor([7, 30]))
    assert torch.equal(batch["image"], expected["image"]) and torch.equal(batch["label"], expected["label"])


def test_labels_are_replaced(digits):
    chosen = Selection(digits, [5, 6], labels=[9, 8])
    assert chosen.labels == [9, 8] and chosen[1]["label"] == 8
    assert chosen.batch(torch.tensor([1, 0]))["label"].tolist() == [8, 9]
    assert digits.batch(torch.tensor([5]))["label"].item() == digits.labels[5]


def test_a_selection_of_a_selection():
    inner = Selection(Listed(), [2, 0], labels=[0, 1])
    outer = Selection(inner, [1])
    assert outer.ids == ["one"] and outer.labels == [1] and outer[0]["text"] == "x"
    assert outer.batch(torch.tensor([0]))["label"].tolist() == [1]


def test_ids():
    assert sample_ids(Listed(), [1, 0]) == ["two", "one"]
    assert Selection(Listed(), [2]).ids == ["three"]


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([], None, "the selection has 0 rows"),
        ([0, 3], None, "has row 3, expected .* 0 to 2"),
        ([-1], None, "has row -1"),
        ([1, 1], None, "has a duplicate row"),
        ([0, 1], [1], "has 1 labels for 2 rows"),
    ],
)
def test_invalid_rows_and_labels_raise(rows, labels, message):
    with pytest.raises(DataError, match=message):
        Selection(Listed(), rows, labels)


def test_recordings_and_entities_are_those_of_the_rows(data_dir):
    spoken = SpokenDigits(data_dir / "fsdd", "test")
    chosen = Selection(spoken, [5, 2])
    assert chosen.utterances == [spoken.utterances[5], spoken.utterances[2]] and chosen.entities == [(), ()]
    assert Selection(Listed(), [0]).utterances is None and Selection(Listed(), [0]).entities is None


def test_views_of_the_source_are_kept():
    views = Listed()
    views.modalities, views.features = {"age": "tabular"}, {"age": 2}
    chosen = Selection(views, [1])
    assert (chosen.modalities, chosen.features) == (views.modalities, views.features)
    assert Selection(Listed(), [1]).modalities == {}

from collections import Counter

import pytest
import torch

from mmcl.data import Mnist
from mmcl.errors import ConfigError, DataError
from mmcl.unlearning.removal import choose_removal


class Spoken:
    """Twelve recordings: three speakers say each of two words twice."""

    classes = ("on", "off")

    def __init__(self):
        self.labels = [0, 1] * 6
        self.texts = [self.classes[label] for label in self.labels]
        self.speakers = ["ann", "bob", "cy"] * 4

    def __len__(self):
        return 12

    def __getitem__(self, row):
        return {"id": f"u{row}", "label": self.labels[row], "features": torch.full((2,), float(row))}


@pytest.fixture(scope="module")
def digits(data_dir):
    return [Mnist(data_dir / "MNIST", split) for split in ("valid", "test")]


def rows(*parts):
    return [set(part.rows) for part in parts]


def test_data_takes_a_share_of_some_classes(digits):
    train, test = digits
    removal = choose_removal("data", train, test, classes=[5, "six"], share=0.4)
    per_class = Counter(train.labels)
    assert Counter(removal.forget.labels) == {label: round(0.4 * per_class[label]) for label in (5, 6)}
    kept, gone, others, unseen = rows(*removal[1:])
    assert kept | gone == set(range(len(train))) and not kept & gone
    assert others | unseen == set(range(len(test))) and not others & unseen and len(unseen) == len(test) // 2
    assert removal.train.labels == train.labels
    again, other = (choose_removal("data", train, test, classes=[5], seed=seed).forget.rows for seed in (0, 1))
    assert choose_removal("data", train, test, classes=[5]).forget.rows == again != other
    assert len(choose_removal("data", train, test, share=0.5).forget) == pytest.approx(len(train) / 2, abs=10)


def test_class_takes_all_samples_of_a_class(digits):
    train, test = digits
    removal = choose_removal("class", train, test, classes=["zero"])
    assert set(removal.forget.labels) == {0} == set(removal.unseen.labels)
    assert set(removal.remain.labels) == set(range(1, 10)) == set(removal.others.labels)


def test_wrong_labels_are_drawn_from_all_other_classes(digits):
    train, test = digits
    removal = choose_removal("noisy_labels", train, test, classes=range(5), share=0.6)
    true = [train.labels[row] for row in removal.forget.rows]
    assert set(true) == set(range(5)) and len(true) == pytest.approx(
        0.6 * sum(label < 5 for label in train.labels), abs=5
    )
    for label in range(5):  # all other classes, with similar frequency
        drawn = Counter(new for new, old in zip(removal.forget.labels, true, strict=True) if old == label)
        assert label not in drawn and len(drawn) == 9 and max(drawn.values()) < 3 * min(drawn.values())
    assert removal.remain.labels == [train.labels[row] for row in removal.remain.rows]
    given = dict(zip(removal.train.rows, removal.train.labels, strict=True))
    assert [given[row] for row in removal.forget.rows] == removal.forget.labels
    batch = removal.forget.batch(torch.arange(3))
    assert batch["label"].tolist() == removal.forget.labels[:3]


def test_speaker_takes_all_samples_of_a_speaker():
    removal = choose_removal("speaker", Spoken(), Spoken(), speakers=["bob"])
    assert removal.forget.rows == removal.unseen.rows == [1, 4, 7, 10]
    assert removal.remain.rows == removal.others.rows == [0, 2, 3, 5, 6, 8, 9, 11]
    assert removal.remain.source is removal.forget.source  # so their rows can be compared


@pytest.mark.parametrize(
    ("kind", "change", "error", "message"),
    [
        ("data", {"share": 0}, ConfigError, r"share.*\b0\b"),
        ("class", {}, ConfigError, "classes"),
        ("class", {"classes": ["onn"]}, DataError, "'onn'.*'on'"),
        ("class", {"classes": [2]}, DataError, "class 2"),
        ("class", {"classes": [0, 1]}, DataError, "0 samples .*remain"),
        ("speaker", {}, ConfigError, "speakers"),
        ("speaker", {"speakers": ["bop"]}, DataError, "'bop'.*'bob'"),
        ("words", {}, ConfigError, "kind.*'words'"),
    ],
)
def test_invalid_arguments_are_refused(kind, change, error, message):
    with pytest.raises(error, match=message):
        choose_removal(kind, Spoken(), Spoken(), **change)


def test_data_set_without_speakers_is_refused(digits):
    with pytest.raises(DataError, match="Mnist.* speakers"):
        choose_removal("speaker", *digits, speakers=["ann"])

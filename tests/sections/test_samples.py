from collections import Counter

import pytest

from mmcl.data import PairedDataset
from mmcl.errors import ConfigError, DataError
from mmcl.sections.samples import SamplesSection


class Drinks:
    classes, labels = ("tea", "coffee", "milk"), [0, 1, 2] * 20
    texts = ["tea", "coffee", "milk"] * 20

    def __len__(self):
        return 60

    def __getitem__(self, row):
        return {"label": self.labels[row], "text": self.texts[row]}


def test_held_out_classes_and_rare_samples_are_left_out():
    data = Drinks()
    assert SamplesSection().select(data, 0) is data
    assert set(SamplesSection(held_out=["milk"]).select(data, 0).texts) == {"tea", "coffee"}
    sizes = Counter(SamplesSection(held_out=["milk"], long_tail=0.1).select(data, 0).texts)
    assert sorted(sizes.values()) == [2, 20] and "milk" not in sizes


def test_unknown_and_too_many_held_out_classes_are_refused():
    with pytest.raises(ConfigError, match="'cofee'.*coffee"):
        SamplesSection(held_out=["cofee"]).select(Drinks(), 0)
    with pytest.raises(ConfigError, match="2 of 3"):
        SamplesSection(held_out=["tea", "milk"]).check_held_out(Drinks.classes)


def test_pairs_are_episodes_where_these_are_set():
    assert type(SamplesSection().pairs(Drinks())) is PairedDataset
    section = SamplesSection(episodes={"ways": 2, "shots": 3, "queries": 4, "per_epoch": 5})
    batches = section.pairs(Drinks()).batches()
    assert [len(rows) for rows in batches] == [14] * 5
    with pytest.raises(DataError, match="0 classes have 21"):
        SamplesSection(episodes={"shots": 11}).pairs(Drinks())

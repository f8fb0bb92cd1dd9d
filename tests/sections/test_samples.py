from collections import Counter

import pytest

from mmcl.errors import ConfigError
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

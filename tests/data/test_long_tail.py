from collections import Counter

import pytest

from mmcl.data.long_tail import long_tailed
from mmcl.errors import ConfigError


class Numbers:
    def __init__(self, labels):
        self.labels, self.classes = labels, tuple(map(str, range(1 + max(labels))))
        self.texts = [str(label) for label in labels]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, row):
        return {"label": self.labels[row]}


def test_sizes_fall_geometrically_from_the_smallest_class():
    data = Numbers([0] * 100 + [1] * 120 + [2] * 300)
    sizes = Counter(long_tailed(data, 0.01).labels)
    assert sorted(sizes.values()) == [1, 10, 100]


def test_seeds_change_which_class_is_rare_and_which_samples_stay():
    data = Numbers([row % 5 for row in range(200)])
    rarest = {
        min(Counter(long_tailed(data, 0.1, seed=seed).labels).items(), key=lambda each: each[1])[0]
        for seed in range(20)
    }
    assert len(rarest) > 2
    assert long_tailed(data, 0.1, seed=3).rows == long_tailed(data, 0.1, seed=3).rows
    assert long_tailed(data, 1.0).labels == data.labels


def test_a_share_out_of_range_is_refused():
    for share in (0.0, 1.5):
        with pytest.raises(ConfigError, match=str(share)):
            long_tailed(Numbers([0, 1]), share)

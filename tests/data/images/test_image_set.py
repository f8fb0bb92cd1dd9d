import numpy as np
import pytest
import torch

from mmcl.data.base import BatchedDataset
from mmcl.data.images.image_set import ImageSet
from mmcl.errors import DataError


class Signs(ImageSet):
    classes = ("stop", "go")

    def __init__(self, split, count, seed=0):
        self.root, self.split = "signs", split
        random = np.random.default_rng(seed)
        self.pixels = random.integers(0, 256, (count, 3, 4, 4), np.uint8)
        self._hold(self.pixels, [row % 2 for row in range(count)])


class Letters(Signs):
    pass


def test_batch_equals_samples():
    signs = Signs("train", 5)
    assert isinstance(signs, BatchedDataset) and len(signs) == 5
    batch = signs.batch(torch.tensor([3, 0]))
    for place, row in enumerate((3, 0)):
        sample = signs[row]
        assert sample["id"] == f"train-{row}" and sample["label"] == row % 2 == batch["label"][place]
        assert sample["text"] == signs.texts[row] == batch["text"][place] == signs.classes[row % 2]
        torch.testing.assert_close(sample["image"], torch.from_numpy(signs.pixels[row]) / 255)
        assert torch.equal(sample["image"], batch["image"][place])


def test_concatenated_splits_leave_the_originals_unchanged():
    one, two = Signs("train", 4), Signs("valid", 3, seed=1)
    both = one + two
    assert (len(one), len(two), len(both)) == (4, 3, 7) and both.split == "train+valid"
    assert both.ids[3:5] == ["train-3", "valid-0"] and both.labels == one.labels + two.labels
    assert torch.equal(both[4]["image"], two[0]["image"]) and torch.equal(both[3]["image"], one[3]["image"])
    with pytest.raises(DataError, match="different data sets"):
        one + Letters("train", 2)

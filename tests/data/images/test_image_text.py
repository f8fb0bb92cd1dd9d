from typing import ClassVar

import pytest
import torch
from torchvision.io import write_png

from mmcl.data.base import Source
from mmcl.data.images.image_text import Described, ImageTextDataset
from mmcl.errors import ConfigError, DataError, MissingDataError


class Dishes(ImageTextDataset):
    source: ClassVar[Source] = Source("dishes", "dishes", ("a.png", "b.png"), "nobody", "none", "2 images", "nowhere")

    def _read(self):
        rows = [] if self.split == "valid" else [Described(self.root / "b.png", "a bowl", "soup")]
        return ["soup", "cake"], rows


@pytest.fixture
def folder(tmp_path):
    write_png(torch.full((3, 20, 40), 51, dtype=torch.uint8), str(tmp_path / "b.png"))
    return tmp_path


def test_a_sample_has_image_text_and_label(folder):
    data = Dishes(folder, "test", size=8)
    assert data.classes == ("cake", "soup") and data.labels == [1] and data.texts == ["a bowl"]
    sample = data[0]
    assert sample["image"].shape == (3, 8, 8) and sample["text"] == "a bowl" and sample["label"] == 1
    torch.testing.assert_close(sample["image"], torch.full((3, 8, 8), 0.2))


def test_invalid_arguments_raise(folder, tmp_path):
    with pytest.raises(DataError, match="Dishes has no split 'tset' .did you mean 'test'"):
        Dishes(folder, "tset")
    with pytest.raises(DataError, match="has no images in split 'valid'"):
        Dishes(folder, "valid")
    with pytest.raises(ConfigError, match="size is 0"):
        Dishes(folder, size=0)
    with pytest.raises(MissingDataError, match="Dishes is missing: there is no folder"):
        Dishes(tmp_path / "nowhere")
    (folder / "b.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="b.png is not an image that can be read"):
        Dishes(folder)[0]
    (folder / "b.png").rename(folder / "a.png")
    with pytest.raises(MissingDataError, match="1 of 1 images of .*, first .*b.png"):
        Dishes(folder)

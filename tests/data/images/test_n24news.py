import json

import pytest
import torch
from torchvision.io import write_jpeg

from mmcl.data import N24News
from mmcl.errors import ConfigError, DataError, MissingDataError


def news(count, start=0):
    sections = ("Sports", "Health", "Art & Design")
    return [
        {
            "image_id": f"img{number}",
            "section": sections[number % 3],
            "headline": f"headline {number}",
            "caption": f"caption  {number}\n",
            "abstract": f"abstract {number}",
        }
        for number in range(start, start + count)
    ]


def draw(folder, rows):
    folder.mkdir(exist_ok=True)
    for row in rows:
        write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(folder / f"{row['image_id']}.jpg"))


def test_layout_with_splits(tmp_path):
    (tmp_path / "news").mkdir()
    for name, start in (("train", 0), ("dev", 6), ("test", 9)):
        rows = news(3, start)
        draw(tmp_path / "imgs", rows)
        (tmp_path / "news" / f"nytimes_{name}.json").write_text(json.dumps(rows))
    data = N24News(tmp_path, "valid", text="caption", size=4)
    assert data.texts == ["caption 6", "caption 7", "caption 8"]
    assert data.classes == ("Art & Design", "Health", "Sports") and data.labels == [2, 1, 0]
    assert data[1]["image"].shape == (3, 4, 4)


def test_layout_without_splits_is_split_by_image(tmp_path):
    rows = news(200)
    draw(tmp_path / "images", rows)
    (tmp_path / "nytimes_dataset.json").write_text(json.dumps(rows))
    parts = {split: N24News(tmp_path, split) for split in ("train", "valid", "test")}
    images = [each.image for part in parts.values() for each in part.described]
    assert len(images) == len(set(images)) == 200
    assert len(parts["train"]) > 130 and min(len(parts["valid"]), len(parts["test"])) > 8
    assert {part.classes for part in parts.values()} == {("Art & Design", "Health", "Sports")}


def test_malformed_files_raise(tmp_path):
    with pytest.raises(MissingDataError, match="N24News is missing: .* has no news or nytimes_dataset.json"):
        N24News(tmp_path)
    (tmp_path / "nytimes_dataset.json").write_text('[{"image_id": "1", "section": "Art"}]')
    with pytest.raises(DataError, match="nytimes_dataset.json, news 1 has no 'headline', expected a string"):
        N24News(tmp_path)
    with pytest.raises(ConfigError, match="text is 'captoin' .did you mean 'caption'"):
        N24News(tmp_path, text="captoin")

import pytest
import torch
from torchvision.io import write_jpeg

from mmcl.data import Food101
from mmcl.errors import DataError, MissingDataError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "texts").mkdir()
    for part, count in (("train", 60), ("test", 4)):
        lines = []
        for number in range(count):
            name = ("apple_pie", "sushi")[number % 2]
            path = tmp_path / "images" / part / name / f"{name}_{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jpeg(torch.zeros(3, 8, 8, dtype=torch.uint8), str(path))
            lines.append(f'{path.name},"{name}, easy  and good",{name}\n')
        (tmp_path / "texts" / f"{part}_titles.csv").write_text("".join(lines))
    return tmp_path


def test_titles_and_images_are_read(folder):
    data = Food101(folder, "test", size=4)
    assert data.classes == ("apple pie", "sushi") and data.labels == [0, 1, 0, 1]
    assert data.texts[1] == "sushi, easy and good" and data[1]["image"].shape == (3, 4, 4)


def test_validation_images_come_from_training(folder):
    train, valid = (Food101(folder, split) for split in ("train", "valid"))
    names = [each.image.name for part in (train, valid) for each in part.described]
    assert len(set(names)) == 60 and 0 < len(valid) < 15


def test_malformed_files_raise(folder):
    titles = folder / "texts" / "test_titles.csv"
    titles.write_text("a.jpg,title,sushi\nb.jpg,,sushi\n")
    with pytest.raises(DataError, match=r"has \['b.jpg', '', 'sushi'\] in line 2, expected image, title and class"):
        Food101(folder, "test")
    titles.unlink()
    with pytest.raises(MissingDataError, match="there is no .*test_titles.csv"):
        Food101(folder, "test")

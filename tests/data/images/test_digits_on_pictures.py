import json

import pytest
import torch
from torchvision.io import write_png

from mmcl.data import DigitsOnPictures, Mnist, Selection, open_dataset
from mmcl.data.attributes import attributes_of
from mmcl.data.images.image_file import load_image
from mmcl.errors import ConfigError, DataError, MissingDataError


@pytest.fixture(scope="module")
def splits(data_dir):
    if not (data_dir / "emoji").is_dir() or not (data_dir / "MNIST").is_dir():
        pytest.skip("MMCL_DATA has no emoji or no MNIST")
    return {split: DigitsOnPictures(data_dir / "emoji", split) for split in DigitsOnPictures.splits}


def write_pictures(folder, categories=("Objects", "Symbols") * 10):
    """Write pictures of one random colour each."""
    torch.manual_seed(0)
    listed = []
    for number, category in enumerate(categories):
        colour = torch.randint(256, (3, 1, 1), dtype=torch.uint8)
        write_png(colour.expand(3, 40, 40).contiguous(), str(folder / f"{number}.png"))
        listed.append({"image": f"{number}.png", "category": category})
    (folder / "captions.json").write_text(json.dumps(listed))
    return folder


def test_half_of_the_samples_have_a_digit_over_the_same_pictures(splits):
    data = splits["valid"]
    half = len(data) // 2
    assert data.is_target == [False] * half + [True] * half and data.labels[:half] == data.labels[half:]
    background, target = data._images[:half].float(), data._images[half:].float()
    assert (target >= background).all() and background.max() <= 153
    changed = (target != background).flatten(1).any(1)
    assert changed.all() and data[half]["image"].shape == (3, 32, 32)
    assert data[0]["text"] == data.classes[data.labels[0]]


def test_a_digit_is_drawn_whole(splits, data_dir):
    """A white stroke of full strength stays white, so the digit is found in its place."""
    data, written = splits["test"], Mnist(data_dir / "MNIST", "test")
    half = len(data) // 2
    white = (data[half + 3]["image"] > 0.98).all(0)
    same = [row for row in range(len(written)) if written.labels[row] == data.digits[half + 3]]
    full = [(written[row]["image"][0] > 0.99) for row in same]
    places = [white[down : down + 28, right : right + 28] for down in range(5) for right in range(5)]
    assert any(bool(place[digit].all()) and int(digit.sum()) > 20 for digit in full for place in places)


def test_no_picture_is_in_two_splits_and_each_has_its_share(splits):
    pictures = {
        split: {image.numpy().tobytes() for image in data._images[: len(data) // 2]} for split, data in splits.items()
    }
    assert not pictures["train"] & pictures["valid"] | pictures["train"] & pictures["test"]
    assert not pictures["valid"] & pictures["test"]
    sizes = {split: len(data) // 2 for split, data in splits.items()}
    assert sum(sizes.values()) == 1612 and 310 < sizes["test"] < 335 and 155 < sizes["valid"] < 170
    assert {len(set(data.labels)) for data in splits.values()} == {9}


def test_a_seed_fixes_digits_and_places(splits, data_dir):
    again, other = (DigitsOnPictures(data_dir / "emoji", "valid", seed=seed) for seed in (0, 1))
    assert torch.equal(again._images, splits["valid"]._images) and again.digits == splits["valid"].digits
    assert other.digits != again.digits and other.labels == again.labels
    many = DigitsOnPictures(data_dir / "emoji", "valid", targets=3)
    assert sum(many.is_target) == 3 * len(again) // 2 and len(many) == 2 * len(again)


def test_flags_and_factors_follow_selections_and_joined_splits(splits):
    joined = splits["valid"] + splits["test"]
    assert joined.digits == splits["valid"].digits + splits["test"].digits and len(joined.is_target) == len(joined)
    row = splits["valid"].digits.index(7)
    chosen = attributes_of(Selection(joined, [0, row]))
    assert chosen.is_target == [False, True] and chosen.factors["digit"] == [-1, 7]
    assert chosen.factors["category"] == [joined.labels[0], joined.labels[row]]


def test_the_catalog_opens_it(splits):
    assert open_dataset("digits_on_pictures", "valid").digits == splits["valid"].digits


def test_equal_pictures_share_a_split(tmp_path, data_dir):
    folder = write_pictures(tmp_path)
    listed = json.loads((folder / "captions.json").read_text())
    for each in listed[::2]:
        each["image"] = "0.png"
    (folder / "captions.json").write_text(json.dumps(listed))
    parts = [DigitsOnPictures(folder, split, mnist_root=data_dir / "MNIST") for split in DigitsOnPictures.splits]
    assert sorted(part.labels[: len(part) // 2].count(4) for part in parts) == [0, 0, 10]


def test_invalid_folders_and_settings_raise(tmp_path, data_dir):
    mnist = data_dir / "MNIST"
    with pytest.raises(MissingDataError, match="captions.json"):
        DigitsOnPictures(tmp_path)
    folder = write_pictures(tmp_path)
    with pytest.raises(DataError, match="tset"):
        DigitsOnPictures(folder, "tset")
    with pytest.raises(ConfigError, match="targets is 0"):
        DigitsOnPictures(folder, mnist_root=mnist, targets=0)
    with pytest.raises(MissingDataError, match="MNIST|mnist"):
        DigitsOnPictures(folder, mnist_root=tmp_path)
    for wrong, named in (("x", "picture 1"), ({"image": "0.png"}, "category"), ({"category": "Toys"}, "Toys")):
        (folder / "captions.json").write_text(json.dumps([wrong]))
        with pytest.raises(DataError, match=named):
            DigitsOnPictures(folder, mnist_root=mnist)
    (folder / "captions.json").write_text(json.dumps([{"image": "0.png", "category": "Flags"}]))
    with pytest.raises(DataError, match="split 'test'"):
        DigitsOnPictures(folder, "test", mnist_root=mnist)
    (folder / "captions.json").write_text(json.dumps([{"image": "none.png", "category": "Flags"}]))
    with pytest.raises(MissingDataError, match="none.png"):
        DigitsOnPictures(folder, mnist_root=mnist)


def test_transparent_parts_are_black(tmp_path):
    from PIL import Image

    Image.new("RGBA", (8, 8), (200, 100, 50, 51)).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", 8, over_black=True)
    assert image[:, 3, 3].tolist() == pytest.approx([40 / 255, 20 / 255, 10 / 255], abs=1e-6)
    assert load_image(tmp_path / "a.png", 8)[0, 3, 3].item() == pytest.approx(200 / 255)

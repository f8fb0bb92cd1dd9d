import pytest
import torch

from mmcl.batch import Batch
from mmcl.data.augment.images import ImageAugmentation
from mmcl.errors import ConfigError, InputError

OFF = {"smallest": 1.0, "rotation": 0.0}


def batch(count=64, height=24, width=24):
    return Batch(image=torch.rand(count, 1, height, width), label=torch.arange(count))


def test_nothing_is_changed_where_all_is_off():
    given = batch()
    assert torch.allclose(ImageAugmentation(**OFF)(given)["image"], given["image"], atol=1e-5)


def test_views_of_a_batch_differ_and_the_source_stays():
    given = Batch(image=torch.rand(1, 1, 24, 24).repeat(8, 1, 1, 1))
    before = given["image"].clone()
    seen = ImageAugmentation(smallest=0.3)(given)["image"]
    assert len({tuple(each.flatten().tolist()) for each in seen}) == 8
    assert torch.equal(given["image"], before) and seen.min() >= 0 and seen.max() <= 1


def test_a_rotation_by_half_a_turn_keeps_every_pixel():
    """Drawn angles are between -180 and 180 degrees; the nearest to a half turn reverses both axes."""
    given = Batch(image=torch.rand(1, 1, 9, 9).repeat(2000, 1, 1, 1))
    views = ImageAugmentation(smallest=1.0, rotation=180)(given)["image"]
    turned = given["image"][0].flip(1, 2)
    assert min((view - turned).abs().max().item() for view in views) < 0.05


@pytest.mark.parametrize(("height", "width"), [(24, 24), (12, 48)])
def test_a_rotation_keeps_shapes_round(height, width):
    """A disc in the centre stays a disc, whatever the sides of the image."""
    y, x = torch.meshgrid(torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij")
    disc = ((x**2 + y**2) < 16).float()
    views = ImageAugmentation(smallest=1.0, rotation=90)(Batch(image=disc.repeat(20, 1, 1, 1)))["image"]
    assert (views - disc).abs().mean() < 0.02


def test_a_crop_shows_a_share_of_the_area():
    """Of a ramp from left to right, a crop with a quarter of the area shows half the values."""
    ramp = torch.linspace(0, 1, 64).repeat(64, 1)[None, None].repeat(50, 1, 1, 1)
    seen = ImageAugmentation(smallest=0.25, largest=0.25, rotation=0.0)(Batch(image=ramp))["image"]
    spans = (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))).tolist()
    assert max(abs(span - 0.5) for span in spans) < 0.08  # pixels at the border of the image are mixed with 0


def test_flips_brightness_and_noise():
    given = batch(200)
    flipped = ImageAugmentation(**OFF, flip=0.5)(given)["image"]
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-4) for a, b in zip(flipped, given["image"], strict=True)]
    assert 60 < sum(mirrored) < 140
    grey = Batch(image=torch.full((200, 1, 4, 4), 0.5))
    levels = ImageAugmentation(**OFF, brightness=0.4)(grey)["image"].mean((1, 2, 3))
    assert 0.29 < levels.min() < 0.4 and 0.6 < levels.max() < 0.71
    assert 0.08 < ImageAugmentation(**OFF, noise=0.1)(grey)["image"].std() < 0.12


def test_whole_patches_are_dropped():
    white = Batch(image=torch.ones(200, 3, 10, 10))
    seen = ImageAugmentation(**OFF, dropped=0.25, patch=4)(white)["image"]
    assert torch.equal(seen, seen[:, :1].expand_as(seen)) and set(seen.unique().tolist()) == {0.0, 1.0}
    for rows, columns in (((0, 4), (4, 8)), ((8, 10), (8, 10))):  # the last patches are cut off
        patch = seen[:, 0, slice(*rows), slice(*columns)].flatten(1)
        assert (patch == patch[:, :1]).all() and 0.65 < patch[:, 0].mean() < 0.85


def test_bad_settings_and_batches_are_refused():
    for wrong in (
        {"rotation": -1.0},
        {"flip": 1.0},
        {"brightness": 2.0},
        {"noise": -0.1},
        {"dropped": 1.0},
        {"patch": 0},
    ):
        with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
            ImageAugmentation(**wrong)
    with pytest.raises(InputError, match="text"):
        ImageAugmentation()(Batch(text=["one"]))

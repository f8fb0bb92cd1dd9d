import pytest
import torch

from mmcl.encoders.image_input import RESIZES, ImageInput, checked_images
from mmcl.errors import ConfigError, InputError, ShapeError

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def test_normalization_on_a_small_example():
    prepare = ImageInput((2, 2), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    prepared = prepare(torch.ones(1, 3, 2, 2))
    assert prepared.flatten(2)[0, :, 0].tolist() == [1.0, 3.0, 0.5] and prepared.shape == (1, 3, 2, 2)


def test_an_image_of_the_right_size_is_unchanged():
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for mode in RESIZES:
        assert torch.equal(ImageInput((8, 8), mode=mode, **PLAIN)(images), images)


def test_grey_images_are_expanded():
    grey = torch.rand(2, 1, 5, 9, generator=torch.Generator().manual_seed(0))
    prepared = ImageInput((8, 8), **PLAIN)(grey)
    assert torch.equal(prepared[:, 0], prepared[:, 2]) and prepared.shape == (2, 3, 8, 8)


def test_modes_keep_different_parts():
    images = torch.zeros(1, 3, 8, 16)
    images[..., :4] = 1  # the left quarter
    kept = {mode: ImageInput((8, 8), mode=mode, fill=(0.5, 0.5, 0.5), **PLAIN)(images)[0, 0] for mode in RESIZES}
    assert not kept["shortest"].any(), "the middle half"
    assert kept["squash"][:, :1].min() > 0.9 and not kept["squash"][:, 4:].any()
    assert (kept["longest"][:2] == 0.5).all() and (kept["longest"][6:] == 0.5).all(), "borders"
    assert (kept["longest"][2:6, :1] > 0.9).all() and not kept["longest"][2:6, 4:].any()


def test_the_center_is_cropped():
    ramp = torch.arange(16.0)[None, None, None, :].expand(1, 3, 16, 16) / 16
    prepared = ImageInput((8, 8), scale=(16, 16), **PLAIN)(ramp)
    assert torch.equal(prepared, ramp[..., 4:12, 4:12])


def test_cubic_interpolation_stays_in_range():
    images = (torch.arange(6) % 2).float().expand(1, 3, 6, 6)
    prepared = ImageInput((40, 40), **PLAIN)(images)
    assert prepared.min() == 0 and prepared.max() == 1


def test_different_computations_have_different_fingerprints():
    changes = [
        {}, {"mode": "squash"}, {"interpolation": "bilinear"}, {"scale": (9, 9)}, {"mean": (0.0, 0.0, 0.1)},
        {"mode": "longest"}, {"mode": "longest", "fill": (1.0, 1.0, 1.0)},
    ]  # fmt: skip
    names = [ImageInput((8, 8), **{**PLAIN, **change}).fingerprint() for change in changes]
    assert len(set(names)) == len(names) and names[0] == ImageInput((8, 8), **PLAIN).fingerprint()
    assert ImageInput((8, 9), **PLAIN).fingerprint() not in names


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(3, 8, 8), ShapeError, r"float32.*\(3, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), ShapeError, "uint8.* 255"),
        (torch.zeros(0, 3, 8, 8), ShapeError, r"\(0, 3, 8, 8\)"),
        ([1], ShapeError, "list"),
        (torch.zeros(1, 4, 8, 8), ShapeError, "4 channels.* 3"),
        (torch.full((1, 3, 8, 8), 255.0), InputError, "255 to 255"),
        (-torch.ones(1, 3, 8, 8), InputError, "-1 to -1"),
    ],
)
def test_invalid_images_raise(images, error, message):
    with pytest.raises(error, match=message):
        checked_images(images, 3)


def test_color_images_raise_for_a_grey_encoder():
    with pytest.raises(ShapeError, match="3 channels.* 1"):
        checked_images(torch.zeros(1, 3, 8, 8), 1)


@pytest.mark.parametrize("std", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, float("nan"), 1.0), (1.0, float("inf"), 1.0)])
def test_invalid_statistics_raise(std):
    with pytest.raises(ConfigError, match="std .*"):
        ImageInput((8, 8), mean=(0.5, 0.5, 0.5), std=std)
    with pytest.raises(ConfigError, match="mean .*nan"):
        ImageInput((8, 8), mean=std[1:] + (float("nan"),), std=(1.0, 1.0, 1.0))


def test_pixels_that_are_not_finite_raise():
    for value in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="nan|inf"):
            checked_images(torch.full((1, 3, 4, 4), value), 3)

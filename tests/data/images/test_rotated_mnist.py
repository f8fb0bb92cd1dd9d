import math

import numpy as np
import pytest
import torch

from mmcl.data import Mnist, RotatedMnist, open_dataset
from mmcl.data.images.rotated_mnist import drawn_angles, rotated
from mmcl.errors import ConfigError, DataError, MissingDataError


def write(folder, name, array):
    head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
    (folder / name).write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def root(tmp_path):
    (tmp_path / "raw").mkdir()
    random = np.random.default_rng(0)
    for name, count in (("train", 5040), ("t10k", 40)):  # the last 5,000 for validation
        write(tmp_path / "raw", f"{name}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28)))
        write(tmp_path / "raw", f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return tmp_path


def slow_rotation(image, degrees):
    """Turn an image counterclockwise, pixel by pixel: each shows the bilinear value at its place before the turn."""
    size, angle = len(image), math.radians(degrees)
    turned, middle = np.zeros_like(image), (size - 1) / 2
    for row in range(size):
        for column in range(size):
            x, y = column - middle, row - middle
            across = x * math.cos(angle) - y * math.sin(angle) + middle
            down = x * math.sin(angle) + y * math.cos(angle) + middle
            left, top = math.floor(across), math.floor(down)
            for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
                if 0 <= r < size and 0 <= c < size:
                    turned[row, column] += image[r, c] * (1 - abs(across - c)) * (1 - abs(down - r))
    return turned


def test_images_are_those_of_a_slow_rotation(root):
    data, plain = RotatedMnist(root, "test", size=3), Mnist(root, "test", size=3)
    for row in range(3):
        expected = slow_rotation(plain[row]["image"][0].double().numpy(), data.targets[row])
        assert np.abs(data[row]["image"][0].numpy() - expected).max() < 1e-4


def test_a_positive_angle_turns_counterclockwise():
    image = torch.zeros(1, 1, 9, 9)
    image[0, 0, 4, 8] = 1.0  # on the right
    turned = rotated(image, torch.tensor([90.0]))
    assert turned[0, 0, 0, 4] > 0.99  # on the top


def test_angles_depend_on_the_seed_and_the_split(root):
    first = RotatedMnist(root, "train", size=12)
    assert first.targets == RotatedMnist(root, "train", size=12).targets
    assert first.targets != RotatedMnist(root, "train", size=12, seed=1).targets
    assert first.targets != RotatedMnist(root, "test", size=12).targets
    assert RotatedMnist(root, "train", size=5).targets == first.targets[:5]


def test_the_training_angles_follow_a_cut_normal_distribution():
    shares = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000
    angles = drawn_angles(shares, 60.0, 20.0)
    assert angles.abs().max() <= 60 and angles.mean().abs() < 1e-6
    within = (angles.abs() < 20).double().mean().item()
    assert within == pytest.approx(math.erf(1 / math.sqrt(2)) / math.erf(3 / math.sqrt(2)), abs=1e-3)
    assert drawn_angles(shares, 60.0, None).abs().mean() == pytest.approx(30, abs=0.01)


def test_other_splits_have_uniform_angles(root):
    assert RotatedMnist(root, "test", spread=5.0).targets == RotatedMnist(root, "test").targets
    assert max(map(abs, RotatedMnist(root, "train", spread=1.0).targets)) < 10


def test_bins_cover_the_angles(root):
    data = RotatedMnist(root, "test", largest=45.0, bin_width=20.0)
    assert data.classes == ("-45 to -25", "-25 to -5", "-5 to 15", "15 to 35", "35 to 45")
    for target, label in zip(data.targets, data.labels, strict=True):
        low, high = map(float, data.classes[label].split(" to "))
        assert low <= target < high


@pytest.mark.parametrize(
    "wrong", [{"largest": 0.0}, {"largest": 181.0}, {"spread": 0.0}, {"bin_width": 0.0}, {"bin_width": 90.0}]
)
def test_settings_out_of_range(wrong, root):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        RotatedMnist(root, "test", **wrong)


def test_missing_and_damaged_files(root):
    with pytest.raises(MissingDataError, match="RotatedMnist"):
        RotatedMnist(root / "none")
    with pytest.raises(DataError, match="'tset'"):
        RotatedMnist(root, "tset")
    (root / "raw" / "t10k-images-idx3-ubyte").write_bytes(b"nothing")
    with pytest.raises(DataError, match="t10k-images"):
        RotatedMnist(root, "test")


def test_the_real_digits(data_dir):
    data = open_dataset("rotated_mnist", "test", data_dir / "MNIST", size=50)
    assert len(data) == 50 and data[0]["image"].shape == (1, 28, 28) and data[0]["image"].min() >= 0

import pytest
import torch

from mmcl.data import Mnist, SpokenDigits, SpokenWrittenDigits
from mmcl.errors import ConfigError, MissingDataError


@pytest.fixture(scope="module")
def root(data_dir):
    return data_dir / "fsdd"


def test_both_sides_are_the_same_digit_of_the_same_split(root, data_dir):
    data = SpokenWrittenDigits(root, "test")
    spoken, written = SpokenDigits(root, "test"), Mnist(data_dir / "MNIST", "test")
    assert len(data) == len(spoken) == 300 and data.labels == spoken.labels
    images = {written[row]["image"].numpy().tobytes(): written.labels[row] for row in range(len(written))}
    for row in range(0, 300, 7):
        sample = data[row]
        assert images[sample["image"].numpy().tobytes()] == sample["label"] == spoken[row]["label"]
        assert torch.equal(sample["audio"], spoken[row]["audio"])
    assert len({data[row]["image"].numpy().tobytes() for row in range(100)}) > 90


def test_a_seed_fixes_pairs_and_noise(root):
    one, again, other = (SpokenWrittenDigits(root, "valid", snr=0, image_noise=0.5, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one[7]["audio"], again[7]["audio"]) and torch.equal(one[7]["image"], again[7]["image"])
    assert not torch.equal(one[7]["audio"], other[7]["audio"]) and one._image != other._image


def test_noise_has_the_requested_level(root):
    clean, noisy = SpokenWrittenDigits(root, "valid"), SpokenWrittenDigits(root, "valid", snr=-6.0, image_noise=0.3)
    ratios, deviations = [], []
    for row in range(0, 300, 30):
        noise = noisy[row]["audio"] - clean[row]["audio"]
        ratios.append(10 * torch.log10(clean[row]["audio"].square().mean() / noise.square().mean()).item())
        image = noisy[row]["image"]
        assert image.min() >= 0 and image.max() <= 1
        black = clean[row]["image"] == 0
        deviations.append((image[black & (image > 0)]).square().mean().sqrt().item())
    assert sum(ratios) / len(ratios) == pytest.approx(-6.0, abs=0.1)
    assert sum(deviations) / len(deviations) == pytest.approx(0.3, abs=0.02)  # half of it is cut at 0


def test_roots_are_independent(root, data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv("MMCL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "fsdd").symlink_to(root)
    monkeypatch.setenv("MMCL_DATA", str(tmp_path / "data"))
    with pytest.raises(MissingDataError, match="data set mnist is missing: there is no folder .*MNIST"):
        SpokenWrittenDigits(split="test")
    assert len(SpokenWrittenDigits(split="test", mnist_root=data_dir / "MNIST")) == 300
    with pytest.raises(MissingDataError, match="data set fsdd is missing"):
        SpokenWrittenDigits(tmp_path)
    with pytest.raises(ConfigError, match="image_noise is -1"):
        SpokenWrittenDigits(root, "test", image_noise=-1)

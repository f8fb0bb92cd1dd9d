import gzip

import numpy as np
import pytest
import torch
from torch import nn

from mmcl.encoders import build_encoder, cached_features
from mmcl.encoders.base import pool
from mmcl.encoders.image import ConvolutionImageEncoder, image_maps, image_rows
from mmcl.errors import ConfigError, ShapeError


@pytest.mark.parametrize("size", [(28, 28), (5, 9), (1, 1)])
def test_shapes_and_pooling(size):
    encoder = ConvolutionImageEncoder(dim=32, pooling="mean_max").eval()
    encoded = encoder(torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0)))
    positions = -(-size[0] // 8) * -(-size[1] // 8)
    assert encoded.sequence.shape == (2, positions, 32) and encoded.lengths.tolist() == [positions] * 2
    assert (encoder.modality, encoder.dim, encoder.pooled_dim, encoder.frozen) == ("image", 32, 64, False)
    assert torch.equal(encoded.pooled, pool(encoded.sequence, encoded.lengths, "mean_max"))
    encoded.pooled.sum().backward()
    assert all(parameter.grad is not None for parameter in encoder.parameters())


def test_images_of_a_batch_are_independent(images):
    encoder = ConvolutionImageEncoder(channels=3, dim=16)
    for training in (True, False):
        encoder.train(training).network[-1].p = 0.0
        together = encoder(images).pooled
        for row, image in enumerate(images):
            assert (encoder(image[None]).pooled[0] - together[row]).abs().max() < 1e-5


def test_forward_runs_both_steps(images):
    encoder = ConvolutionImageEncoder(channels=3, dim=16).eval()
    features, lengths = encoder.frozen_features(images)
    assert features.shape == (4, 32, 40 * 3) and lengths.tolist() == [32] * 4 and not features.requires_grad
    assert torch.equal(encoder.from_features(features, lengths).pooled, encoder(images).pooled)
    assert torch.equal(image_maps(features, lengths, 3), images)
    grey = encoder(images[:, :1]).pooled
    assert torch.equal(grey, encoder(images[:, [0, 0, 0]]).pooled)


@pytest.mark.parametrize("frozen", [False, True])
def test_images_are_cached(frozen, pictures, images, tmp_path):
    encoder = build_encoder("image", "cnn", channels=3, dim=16, frozen=frozen)
    kept = cached_features(pictures, encoder, tmp_path, half=False, progress=False)
    batch = kept.batch(torch.arange(4))
    expected = encoder.eval()(images).pooled
    if frozen:
        assert not encoder.train().training and not any(p.requires_grad for p in encoder.parameters())
        assert (batch["features"] - expected).abs().max() < 1e-6
    else:
        again = encoder.from_features(batch["features"], batch["features_lengths"])
        assert (again.pooled - expected).abs().max() < 1e-6


def test_images_are_resized_to_size(images):
    torch.manual_seed(0)
    images = images[:, :1]
    encoder = build_encoder("image", "cnn", dim=16, size=images.shape[-1]).eval()
    assert encoder.fingerprint() != build_encoder("image", "cnn").fingerprint()
    larger = images.repeat_interleave(3, 2).repeat_interleave(3, 3)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images).sequence, encoder(larger).sequence, rtol=0, atol=0.02)


def test_fingerprint():
    encoder = ConvolutionImageEncoder(dim=16)
    same = ConvolutionImageEncoder(dim=32, blocks=1, pooling="max").fingerprint()
    assert encoder.fingerprint() == same != ConvolutionImageEncoder(channels=3).fingerprint()
    encoder.frozen = True
    before = encoder.fingerprint()
    encoder.network[0].bias.data += 1
    assert encoder.fingerprint() != before


def test_rows_on_a_small_example():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]])
    assert image_rows(maps).tolist() == [[[1.0, 5.0, 2.0, 6.0], [3.0, 7.0, 4.0, 8.0]]]


def test_images_of_different_heights_raise():
    with pytest.raises(ShapeError, match=r"\(2, 4, 6\).*\[3, 4\]"):
        image_maps(torch.zeros(2, 4, 6), torch.tensor([4, 3]), 3)
    with pytest.raises(ShapeError, match=r"width \* 4"):
        image_maps(torch.zeros(2, 4, 6), torch.tensor([4, 4]), 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 0}, "dim .* 0.* 2"),
        ({"blocks": 0}, "blocks .* 0"),
        ({"channels": -1}, "channels .* -1"),
        ({"dropout": 1.0}, "dropout .* 1.0"),
    ],
)
def test_invalid_options_raise(options, message):
    with pytest.raises(ConfigError, match=message):
        ConvolutionImageEncoder(**options)


def test_it_generalizes_to_unseen_digits(data_dir):
    folder = data_dir / "MNIST" / "raw"
    if not folder.is_dir():
        pytest.skip("MMCL_DATA has no MNIST")
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        file.read(16)
        digits = np.frombuffer(file.read(1000 * 784), np.uint8).reshape(1000, 1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = torch.from_numpy(np.frombuffer(file.read()[8:1008], np.uint8).astype(np.int64))
    digits = torch.from_numpy(digits.astype(np.float32) / 255)
    torch.manual_seed(0)
    encoder, head = ConvolutionImageEncoder(dim=64), nn.Linear(64, 10)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for step in range(120):
        rows = torch.randperm(800, generator=torch.Generator().manual_seed(step))[:64]
        loss = nn.functional.cross_entropy(head(encoder(digits[rows]).pooled), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.eval()
    with torch.no_grad():
        predicted = head(encoder(digits[800:]).pooled).argmax(1)
    assert (predicted == labels[800:]).float().mean() > 0.8


def test_former_models_have_the_fingerprint_without_the_size_of_the_data():
    sized, unsized = build_encoder("image", "cnn", size=28), build_encoder("image", "cnn")
    assert sized.fingerprint() != unsized.fingerprint() == sized.former_fingerprint() == unsized.former_fingerprint()

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.functional import to_tensor

from mmcl.encoders import build_encoder
from mmcl.encoders.image_tower import ImageTower
from mmcl.encoders.timm_towers import _tower
from mmcl.errors import ConfigError, DataError, MissingDataError


def build(name="test_vit", **options):
    torch.manual_seed(0)
    return build_encoder("image", f"timm:{name}", **options)


def transform(network):
    return timm.data.create_transform(**timm.data.resolve_model_data_config(network), is_training=False)


@pytest.mark.parametrize(
    ("name", "layers"),
    [("test_vit", [0, 3]), ("test_resnet", [0, 2]), ("test_convnext", []), ("test_efficientnet", [])],
)
def test_tower(name, layers, images, check_tower):
    encoder, encoded = check_tower(lambda **options: build(name, **options), layers)
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=0).eval()
    with torch.no_grad():
        expected = network(encoder.images(images))
    assert (encoded.pooled - expected).abs().max() < 1e-5
    mean = build(name, frozen=True, pooling="mean")(images)
    assert (mean.pooled - mean.sequence.mean(1)).abs().max() < 1e-5
    assert (name == "test_vit") == (encoded.sequence.shape[1] == 101), "the class token and 10 x 10 patches"


def test_channels_last(images):
    torch.manual_seed(0)
    network = timm.models.SwinTransformer(
        patch_size=8, embed_dim=8, depths=(1, 1), num_heads=(1, 1), num_classes=0
    ).eval()  # fmt: skip
    prepare = build(frozen=True).images
    prepare.size = prepare.scale = (224, 224)
    encoder = ImageTower(_tower(network), prepare, name="swin", frozen=True)
    with torch.no_grad():
        hidden = network.forward_features(prepare(images))
        expected = network(prepare(images))
    assert hidden.shape == (4, 14, 14, 16)
    encoded = encoder(images)
    assert (encoded.sequence - hidden.flatten(1, 2)).abs().max() < 1e-5
    assert (encoded.pooled - expected).abs().max() < 1e-5
    assert encoder.frozen_features(images)[0].shape == (4, 14, 14 * 16)


@pytest.mark.parametrize("name", ["test_vit", "resnet18", "test_resnet"])
@pytest.mark.parametrize("size", [(28, 28), (300, 200), (150, 400)])
def test_preprocessing_equals_timm(name, size):
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 6, generator=generator)
    picture = torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)[0]
    image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    encoder = build(name, frozen=True)
    expected = transform(encoder.tower.network)(image)
    prepared = encoder.images(to_tensor(image)[None])[0]
    assert prepared.shape == expected.shape
    assert (prepared - expected).abs().max() < 2.5 / 255 / encoder.images.std.min()  # PIL rounds, twice


def test_weights_from_a_file(tmp_path, images):
    trained = build(frozen=True)
    state = trained.tower.network.state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "weights.pt")
    for name in ("weights.safetensors", "weights.pt"):
        torch.manual_seed(1)
        encoder = build_encoder("image", "timm:test_vit", weights=tmp_path / name)
        assert encoder.frozen, "with weights"
        assert torch.equal(encoder(images).pooled, trained(images).pooled)
        assert encoder.fingerprint() == trained.fingerprint()
    with pytest.raises(DataError, match="'timm:test_resnet' lack"):
        build("test_resnet", weights=tmp_path / "weights.pt")
    assert not build().frozen, "with random weights"


def test_tags_are_not_downloaded():
    with pytest.raises(MissingDataError, match="'test_vit.r160_in1k'.*download=True"):
        build(weights="r160_in1k")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, r"'resnet81'.*'resnet\w+'"),
        (
            "test_vit",
            {"weights": "r106_in1k"},
            "'r106_in1k'.*'r160_in1k'",
        ),
        ("test_vit.in1k", {}, "'in1k'.*'timm:test_vit'.* r160_in1k"),
        ("test_vit", {"tune_from": 9}, "tune_from is 9.*'timm:test_vit'"),
        ("test_convnext", {"tune_from": 1}, "tune_from is 1.*'timm:test_convnext'"),
        ("test_vit", {"dim": 1}, "'dim'.*'timm:test_vit'.* download, weights"),
    ],
)
def test_invalid_arguments_raise(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)

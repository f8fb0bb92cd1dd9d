import pytest
import torch
from PIL import Image
from torchvision import models
from torchvision.transforms.functional import to_tensor

from mmcl.encoders import build_encoder
from mmcl.encoders.image_tower import ImageTower
from mmcl.encoders.torchvision_towers import _images, _tower
from mmcl.errors import ConfigError, DataError, MissingDataError


def build(name="resnet18", **options):
    torch.manual_seed(0)
    return build_encoder("image", f"torchvision:{name}", **options)


def own(name, images):
    """Return the input of the classifier in torchvision's forward."""
    torch.manual_seed(0)
    network = models.get_model(name, weights=None).eval()
    kept = []
    head = network.fc if hasattr(network, "fc") else network.classifier
    head.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].flatten(1)))
    with torch.no_grad():
        network(images)
    return kept[0]


@pytest.fixture(autouse=True)
def small_images(monkeypatch):
    """Use images of 64 x 64, which is faster."""
    prepare = _images(None)
    prepare.size = prepare.scale = (64, 64)
    monkeypatch.setattr("mmcl.encoders.torchvision_towers._images", lambda weights: prepare)


@pytest.mark.parametrize(("name", "layers"), [("resnet18", [0, 3]), ("mobilenet_v3_small", [0, 11])])
def test_tower(name, layers, images, check_tower):
    encoder, encoded = check_tower(lambda **options: build(name, **options), layers)
    assert (encoded.pooled - own(name, encoder.images(images))).abs().max() < 1e-5
    assert (encoded.pooled - encoded.sequence.mean(1)).abs().max() < 1e-5, "the mean over positions"


@pytest.mark.parametrize("name", ["convnext_tiny", "mobilenet_v2", "efficientnet_b0"])
def test_own_pooling_is_the_input_of_the_classifier(name, images):
    encoder = build(name, frozen=True)
    assert (encoder(images).pooled - own(name, encoder.images(images))).abs().max() < 1e-5


def test_vision_transformer(images, check_tower):
    def make(**options):
        torch.manual_seed(0)
        network = models.VisionTransformer(64, 16, 3, 2, 32, 64, dropout=0.1)
        options = {"frozen": False, **options}
        return ImageTower(_tower("vit", network), build(frozen=True).images, name="vit", **options)

    encoder, encoded = check_tower(make, [0, 2])
    torch.manual_seed(0)
    network = models.VisionTransformer(64, 16, 3, 2, 32, 64).eval()
    network.heads = torch.nn.Identity()
    with torch.no_grad():
        assert (network(encoder.images(images)) - encoded.pooled).abs().max() < 1e-5
    assert encoded.sequence.shape == (4, 17, 32)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vit_b_16", "efficientnet_b0"])
@pytest.mark.parametrize("size", [(28, 28), (300, 200), (260, 500)])
def test_preprocessing_equals_torchvision(name, size):
    weights = models.get_model_weights(name)["DEFAULT"]
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 6, generator=generator)
    picture = torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)[0]
    image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    prepare = _images(weights)
    expected, prepared = weights.transforms()(image), prepare(to_tensor(image)[None])[0]
    assert prepared.shape == expected.shape
    assert (prepared - expected).abs().max() < 2.5 / 255 / prepare.std.min()  # PIL rounds, twice


def test_weights_from_a_file(tmp_path, images):
    torch.manual_seed(2)
    network = models.resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    encoder = build(weights=tmp_path / "resnet18.pth")
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        assert encoder.frozen and torch.equal(encoder(images).pooled, network(encoder.images(images)))
    tuned = build(weights=tmp_path / "resnet18.pth", tune_from=3)
    assert not tuned.frozen and (tuned.eval()(images).pooled - encoder(images).pooled).abs().max() < 1e-5
    with pytest.raises(DataError, match="'torchvision:resnet34' lack"):
        build("resnet34", weights=tmp_path / "resnet18.pth")


def test_tags_are_not_downloaded(tmp_path, monkeypatch, images):
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(MissingDataError, match="'torchvision:resnet18 IMAGENET1K_V1'.*download=True"):
        build(weights="IMAGENET1K_V1")
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(2)
    torch.save(models.resnet18().state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    encoder = build(weights="IMAGENET1K_V1")
    assert encoder.frozen and encoder.fingerprint() != build(frozen=True).fingerprint()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet81", {}, "'resnet81'.*'resnet18'"),
        (
            "resnet18",
            {"weights": "V1"},
            "'V1'.* IMAGENET1K_V1",
        ),
        (
            "squeezenet1_1",
            {},
            "'torchvision:squeezenet1_1'.* timm",
        ),
        ("resnet18", {"tune_from": 4}, "tune_from is 4.*'torchvision:resnet18'.* 0 to 3"),
    ],
)
def test_invalid_arguments_raise(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build(name, **options)

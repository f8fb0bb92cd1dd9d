import json

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.functional import to_tensor

from mmcl.encoders import build_encoder, cached_features
from mmcl.errors import ConfigError, DataError, MissingDataError
from mmcl.freeze import frozen_copy

VISION = {"image_size": 32, "layers": 3, "width": 16, "head_width": 8, "patch_size": 8}
TEXT = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3}
MODELS = {
    "tiny": {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-quick": {"embed_dim": 8, "quick_gelu": True, "vision_cfg": VISION, "text_cfg": TEXT},
    "tiny-average": {"embed_dim": 8, "vision_cfg": {**VISION, "pool_type": "avg"}, "text_cfg": TEXT},
    "tiny-resnet": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8},
        "text_cfg": TEXT,
    },
    "tiny-timm": {
        "embed_dim": 8,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "test_resnet", "timm_model_pretrained": True, "image_size": 32},
        "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last", "proj_bias": True},
    },
    "tiny-eos": {
        "embed_dim": 8,
        "vision_cfg": VISION,
        "text_cfg": {**TEXT, "pool_type": "eos", "eos_id": 49407, "proj_type": "none", "width": 8},
    },
    "tiny-looks-beyond": {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": {**TEXT, "no_causal_mask": True}},
    "tiny-roberta": {"embed_dim": 8, "vision_cfg": VISION, "text_cfg": {"hf_model_name": "roberta-base"}},
}
TEXTS = ["a photo of a cat", "lights", "", "turn on all the lights in the kitchen now"]


@pytest.fixture(scope="module", autouse=True)
def tiny_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, config in MODELS.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    before = list(open_clip.factory._MODEL_CONFIG_PATHS)
    open_clip.add_model_config(folder)
    yield
    open_clip.factory._MODEL_CONFIG_PATHS[:] = before
    for name in MODELS:
        open_clip.factory._MODEL_CONFIGS.pop(name)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    """Return a function that builds whole models of open_clip with random weights, and saves them."""

    def make(name):
        if name not in made:
            torch.manual_seed(0)
            model = open_clip.create_model(name, pretrained_text=False).eval()
            for parameter in model.parameters():
                parameter.data += 0.1 * torch.randn_like(parameter)
            path = folder / f"{name}.safetensors"
            save_file({key: value.contiguous() for key, value in model.state_dict().items()}, path)
            made[name] = model, path
        return made[name]

    folder, made = tmp_path_factory.mktemp("weights"), {}
    return make


@pytest.mark.parametrize(
    ("name", "layers", "steps"),
    [
        ("tiny", [0, 2], 16),
        ("tiny-quick", [1], 16),
        ("tiny-average", [1], 16),
        ("tiny-resnet", [], 1),
        ("tiny-timm", [], 1),
    ],
)
def test_an_image_tower_equals_encode_image(name, layers, steps, images, check_tower, upstream):
    model, path = upstream(name)
    encoder, encoded = check_tower(
        lambda **options: build_encoder("image", f"open_clip:{name}", pretrained=path, **options), layers
    )
    with torch.no_grad():
        expected = model.encode_image(encoder.images(images))
    assert (encoded.pooled - expected).abs().max() < 1e-5
    assert encoded.sequence.shape[1] == steps and encoder.pooled_dim == 8


@pytest.mark.parametrize("name", ["tiny", "tiny-quick", "tiny-timm", "tiny-eos"])
def test_a_text_tower_equals_encode_text(name, upstream):
    model, path = upstream(name)
    encoder = build_encoder("text", f"open_clip:{name}", pretrained=path)
    tokens = open_clip.get_tokenizer(name)(TEXTS)
    with torch.no_grad():
        expected = model.encode_text(tokens)
    encoded = encoder(TEXTS)
    assert (encoded.pooled - expected).abs().max() < 1e-5
    assert (
        encoder.frozen
        and encoder.modality == "text"
        and (encoder.dim, encoder.pooled_dim)
        == (
            8 if name == "tiny-eos" else 16,
            8,
        )
    )
    assert encoded.lengths.tolist() == ([12] * 4 if name == "tiny-timm" else [7, 3, 2, 11])
    assert not encoder.train().training and not any(p.requires_grad for p in encoder.parameters())
    for row, text in enumerate(TEXTS):
        assert (encoder([text]).pooled[0] - encoded.pooled[row]).abs().max() < 1e-5
    mean = build_encoder("text", f"open_clip:{name}", pretrained=path, pooling="mean")(TEXTS)
    for row, length in enumerate(mean.lengths.tolist()):
        assert (mean.pooled[row] - mean.sequence[row, :length].mean(0)).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["tiny", "tiny-timm"])
@pytest.mark.parametrize("training", [{"tune_from": 0}, {"tune_from": 2}, {"frozen": False}])
def test_a_tuned_text_tower_has_equal_outputs_and_trains_its_upper_layers(name, training, upstream):
    _, path = upstream(name)
    frozen = build_encoder("text", f"open_clip:{name}", pretrained=path)
    tuned = build_encoder("text", f"open_clip:{name}", pretrained=path, **training)
    features, lengths = tuned.frozen_features(TEXTS)
    assert not features.requires_grad and not tuned.frozen
    encoded = tuned.from_features(features, lengths)
    assert (encoded.pooled - frozen(TEXTS).pooled).abs().max() < 1e-5
    encoded.pooled.square().sum().backward()
    trained = {name: p for name, p in tuned.named_parameters() if p.requires_grad}
    assert all(parameter.grad is not None for parameter in trained.values())
    first = training.get("tune_from", 0)
    layers = {int(name.split(".")[3]) for name in trained if "resblocks" in name}
    assert layers == set(range(first, 3))
    outside = {name.split(".")[1] for name in trained if "resblocks" not in name}
    front = {"token_embedding", "positional_embedding"} if "frozen" in training else set()
    assert outside == {"ln_final", "text_projection"} | front
    before = tuned.fingerprint()
    assert before not in (frozen.fingerprint(), build_encoder("text", "open_clip:tiny-quick").fingerprint())
    assert before == build_encoder("text", f"open_clip:{name}", pretrained=path, **training).fingerprint()
    tuned.model.transformer.resblocks[2].mlp.c_fc.bias.data += 1
    assert tuned.fingerprint() == before
    tuned.model.positional_embedding.data += 1
    assert (tuned.fingerprint() == before) == ("frozen" in training)


@pytest.mark.parametrize("training", [{}, {"tune_from": 1}, {"frozen": False}])
def test_texts_are_cached(training, upstream, pictures, tmp_path):
    encoder = build_encoder("text", "open_clip:tiny", pretrained=upstream("tiny")[1], **training)
    kept = cached_features(pictures, encoder, tmp_path, keep="sequence", half=False, progress=False)
    batch = kept.batch(torch.arange(4))
    expected = encoder(pictures.texts).pooled
    again = encoder.from_features(batch["features"], batch["features_lengths"]).pooled
    assert (again - expected).abs().max() < 1e-5
    assert encoder.frozen == (cached_features(pictures, encoder, tmp_path, progress=False).lengths is None)


def test_truncated_texts_are_logged(upstream, caplog):
    encoder = build_encoder("text", "open_clip:tiny", pretrained=upstream("tiny")[1])
    fits = "one two three four five six seven eight nine ten"
    assert encoder([fits, "lights"]).lengths.tolist() == [12, 3] and not caplog.records
    encoded = encoder([f"{fits} eleven", "lights", f"{fits} twelve thirteen"])
    assert encoded.lengths.tolist() == [12, 3, 12]
    assert "2 of 3 texts to 12 tokens, first 'one two three" in caplog.text
    caplog.clear()
    encoder([f"{fits} eleven"])
    assert not caplog.records, "each text is logged once"


def test_a_tokenizer_of_transformers(weights_dir, tmp_path, monkeypatch, caplog):
    folder = weights_dir / "all-MiniLM-L6-v2"
    text = {**TEXT, "vocab_size": 30522, "no_causal_mask": True, "pool_type": "last", "hf_tokenizer_name": str(folder)}
    config = {"embed_dim": 8, "custom_text": True, "vision_cfg": VISION, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-hub", config)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-hub").eval()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    encoder = build_encoder("text", "open_clip:tiny-hub", pretrained=tmp_path / "weights.pt")
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer("tiny-hub")(TEXTS))
    caplog.clear()
    assert (encoder(TEXTS).pooled - expected).abs().max() < 1e-5 and not caplog.records
    encoder([*TEXTS, "lights " * 11])
    assert "1 of 5 texts to 12 tokens, first 'lights lights" in caplog.text


def test_a_copy_is_independent(upstream):
    encoder = build_encoder("text", "open_clip:tiny", pretrained=upstream("tiny")[1], tune_from=1)
    copied = frozen_copy(encoder)
    expected = copied(TEXTS).pooled
    encoder.model.ln_final.bias.data += 1
    assert torch.equal(copied(TEXTS).pooled, expected) and not torch.equal(encoder(TEXTS).pooled, expected)


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(28, 28), (60, 100), (100, 60)])
def test_preprocessing_equals_open_clip(mode, size, tmp_path, upstream):
    _, path = upstream("tiny")
    (tmp_path / "weights.safetensors").write_bytes(path.read_bytes())
    prepared = {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.5, 0.4], "interpolation": "bicubic", "resize_mode": mode}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": prepared}))
    encoder = build_encoder("image", "open_clip:tiny", pretrained=tmp_path / "weights.safetensors")
    transform = open_clip.image_transform(32, is_train=False, **prepared)
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 6, generator=generator)
    picture = torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)[0]
    image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    difference = (encoder.images(to_tensor(image)[None])[0] - transform(image)).abs()
    assert difference.max() < 2.5 / 255 / 0.4  # PIL rounds, twice


def test_random_weights_are_not_frozen():
    for modality in ("image", "text"):
        encoder = build_encoder(modality, "open_clip:tiny")
        assert not encoder.frozen and all(parameter.requires_grad for parameter in encoder.parameters())


def test_wrong_weights_raise(upstream, tmp_path):
    with pytest.raises(DataError, match="'open_clip:tiny'.*size mismatch for conv1.weight"):
        build_encoder("image", "open_clip:tiny", pretrained=upstream("tiny-resnet")[1])
    with pytest.raises(DataError, match=r"'open_clip:tiny-timm'.*'visual\.trunk"):
        build_encoder("image", "open_clip:tiny-timm", pretrained=upstream("tiny")[1])
    (tmp_path / "weights.pt").write_bytes(b"nothing")
    with pytest.raises(DataError, match="weights.pt'"):
        build_encoder("text", "open_clip:tiny", pretrained=tmp_path / "weights.pt")
    (tmp_path / "open_clip_config.json").write_text("[")
    with pytest.raises(DataError, match="open_clip_config.json"):
        build_encoder("image", "open_clip:tiny", pretrained=tmp_path / "weights.pt")


@pytest.mark.parametrize(
    ("modality", "name", "options", "error", "message"),
    [
        ("image", "ViT-B32", {}, ConfigError, "'ViT-B32'.*'ViT-B-32'"),
        (
            "image",
            "ViT-B-32",
            {"pretrained": "openia"},
            ConfigError,
            "'openia'.*'openai'",
        ),
        ("image", "ViT-B-32", {"pretrained": "openai"}, ConfigError, "'open_clip:ViT-B-32-quickgelu'"),
        ("image", "tiny", {"pretrained": "openai"}, ConfigError, "'openai'.*'open_clip:tiny'"),
        (
            "image",
            "ViT-B-32",
            {"pretrained": "laion2b_s34b_b79k"},
            MissingDataError,
            "laion2b_s34b_b79k'.*download=True",
        ),
        ("text", "ViT-B-32", {"pretrained": "datacomp_xl_s13b_b90k"}, MissingDataError, "download=True"),
        ("text", "tiny-roberta", {}, ConfigError, "'open_clip:tiny-roberta'.*'roberta-base'"),
        ("text", "tiny-looks-beyond", {}, ConfigError, "'open_clip:tiny-looks-beyond'"),
        ("text", "coca_ViT-B-32", {}, ConfigError, "'open_clip:coca_ViT-B-32'"),
        ("text", "ViT-B-16-SigLIP", {}, MissingDataError, "'timm/ViT-B-16-SigLIP'.*download=True"),
        ("image", "tiny", {"tune_from": 3}, ConfigError, "tune_from is 3.*'open_clip:tiny'"),
        ("image", "tiny-resnet", {"tune_from": 0}, ConfigError, "tune_from is 0.*'open_clip:tiny-resnet'"),
        ("text", "tiny", {"tune_from": -1}, ConfigError, "tune_from is -1.*'open_clip:tiny'"),
        ("text", "tiny", {"dim": 3}, ConfigError, "'dim'.*'open_clip:tiny'.* download"),
    ],
)
def test_invalid_arguments_raise(modality, name, options, error, message):
    with pytest.raises(error, match=message):
        build_encoder(modality, f"open_clip:{name}", **options)


def test_the_image_tower_of_a_model_with_a_text_tower_of_transformers(images):
    assert build_encoder("image", "open_clip:tiny-roberta")(images).pooled.shape == (4, 8)

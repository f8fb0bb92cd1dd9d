import json

import pytest
import torch
from PIL import Image
from torchvision.transforms.functional import to_tensor
from transformers import (
    AutoImageProcessor,
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from mmcl.encoders import build_encoder
from mmcl.errors import ConfigError, DataError, MissingDataError

SIZES = dict(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8)
VISION = {**SIZES, "intermediate_size": 32}
TEXT = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=30)


def save(path, kind):
    torch.manual_seed(0)
    if kind == "vit":
        model = ViTModel(ViTConfig(**VISION), add_pooling_layer=False)
        ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(path)
    elif kind == "dinov2":
        model = Dinov2Model(Dinov2Config(**SIZES))
        cut = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 36}, "resample": 3}
        BitImageProcessor(**cut, do_center_crop=True).save_pretrained(path)
    else:
        cut = {"crop_size": {"height": 32, "width": 32}, "size": {"shortest_edge": 32}}
        CLIPImageProcessor(**cut).save_pretrained(path)
        model = CLIPVisionModel(CLIPVisionConfig(**VISION))
        if kind == "clip":
            model = CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=8))
    for parameter in model.parameters():
        parameter.data = parameter.data * 2 + 0.01
    model.eval().save_pretrained(path)
    return model


def own(model, kind, prepared):
    with torch.no_grad():
        if kind == "clip":
            hidden = model.vision_model(prepared)
            return model.visual_projection(hidden.pooler_output)
        output = model(prepared)
        return output.last_hidden_state[:, 0] if kind == "vit" else output.pooler_output


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip", "clip_vision_model"])
def test_tower(kind, tmp_path, images, check_tower):
    model = save(tmp_path, kind)
    encoder, encoded = check_tower(lambda **options: build_encoder("image", tmp_path, **options), [0, 2])
    assert (encoded.pooled - own(model, kind, encoder.images(images))).abs().max() < 1e-5
    assert encoded.sequence.shape == (4, 17, 16) and encoder.pooled_dim == (8 if kind == "clip" else 16)
    assert build_encoder("image", tmp_path).frozen, "pretrained encoders are frozen"


@pytest.mark.parametrize("kind", ["vit", "dinov2", "clip"])
@pytest.mark.parametrize("size", [(28, 28), (60, 100), (100, 60)])
def test_preprocessing_equals_transformers(kind, size, tmp_path):
    save(tmp_path, kind)
    prepare = build_encoder("image", tmp_path).images
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 6, 6, generator=generator)
    picture = torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)[0]
    image = Image.fromarray((picture * 255).round().byte().permute(1, 2, 0).numpy())
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    expected = processor(image, return_tensors="pt")["pixel_values"][0]
    prepared = prepare(to_tensor(image)[None])[0]
    assert prepared.shape == expected.shape
    assert (prepared - expected).abs().max() < 2.5 / 255 / prepare.std.min()  # 8-bit values are rounded


def test_missing_and_unsupported_models_raise(tmp_path, weights_dir):
    with pytest.raises(MissingDataError, match="'nobody/nothing'.*download"):
        build_encoder("image", "nobody/nothing")
    with pytest.raises(ConfigError, match="'bert'.* vit, dinov2, clip"):
        build_encoder("image", weights_dir / "all-MiniLM-L6-v2")
    save(tmp_path, "vit")
    with pytest.raises(ConfigError, match="tune_from is 3.*'vit'"):
        build_encoder("image", tmp_path, tune_from=3)
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**settings, "size": {"longest_edge": 32}}))
    with pytest.raises(ConfigError, match="'longest_edge': 32"):
        build_encoder("image", tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(DataError, match="preprocessor_config.json"):
        build_encoder("image", tmp_path)

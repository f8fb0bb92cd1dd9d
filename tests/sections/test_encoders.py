"""Config sections of encoders."""

import pytest
import torch
from pydantic import ValidationError

from mmcl.config.model import StrictModel, load_config
from mmcl.sections.encoders import AudioSection, EncoderSection, TextSection


@pytest.mark.parametrize(
    ("section", "modality", "dim"),
    [
        (EncoderSection(modality="text", name="words", options={"dim": 24}), "text", 24),
        (EncoderSection(modality="image", options={"dim": 24}), "image", 24),
        (EncoderSection(options={"dim": 24}, frozen=True), "audio", 24),
    ],
)
def test_section_builds_the_encoder_of_its_settings(section, modality, dim):
    encoder = section.encoder()
    assert (encoder.modality, encoder.dim) == (modality, dim) and encoder.frozen == bool(section.frozen)


def test_options_of_the_config_override_those_of_the_data():
    section = EncoderSection(modality="tabular", name="mlp", options={"dim": 8})
    assert section.encoder(features=5, dim=4).dim == 8


def test_pooling_reaches_the_encoder():
    audio = AudioSection(pooling="mean_max", options={"dim": 16}).build()
    assert audio.pooled_dim == 2 * audio.dim == 32


def test_adapters_are_a_section_of_any_pretrained_encoder(small_whisper, tmp_path):
    folder = small_whisper(tmp_path / "whisper")
    (tmp_path / "c.yaml").write_text(f"encoder: {{name: '{folder}'}}\n")
    config = load_config(Holder, tmp_path / "c.yaml", ["encoder.lora.rank=2", "encoder.tune_from=2"])
    assert config.encoder.lora.alpha == 16 and config.encoder.lora.targets is None
    encoder = config.encoder.build()
    trained = [name for name, each in encoder.named_parameters() if each.requires_grad]
    assert trained and all("layers.2." in name and "lora" in name for name in trained)
    assert AudioSection(name="openai/whisper-base", tune_from=2).lora is None


def test_text_section_builds_a_text_encoder():
    assert TextSection(options={"dim": 12}).build().pooled_dim == 12


@pytest.mark.parametrize(
    "wrong",
    [{"lora": {"rank": 0}}, {"lora": {"rnak": 1}}, {"modality": "video"}, {"tune_from": "last"}, {"poolin": "max"}],
)
def test_invalid_settings_raise(wrong):
    with pytest.raises(ValidationError):
        EncoderSection(**wrong)


class Holder(StrictModel):
    encoder: AudioSection = AudioSection()
    views: dict[str, EncoderSection] = {}


@pytest.mark.parametrize(
    ("former", "name", "kept"),
    [
        ("conformer", "cnn", False),
        ("cnn", "openai/whisper-base", False),
        ("cnn", "cnn", True),
        ("openai/whisper-base", "openai/whisper-small", True),
        ("openai/whisper-base", "speechbrain:ecapa", False),
        ("torchaudio:HUBERT_BASE", "torchaudio:WAV2VEC2_BASE", True),
    ],
)
def test_options_of_another_kind_of_encoder_are_dropped(former, name, kept, tmp_path, caplog):
    section = f"{{name: '{former}', tune_from: 3, pooling: mean, options: {{dim: 8}}}}"
    (tmp_path / "c.yaml").write_text(f"encoder: {section}\nviews: {{audio: {section}}}\n")
    config = load_config(Holder, tmp_path / "c.yaml", [f"encoder.name={name}", f"views.audio.name={name}"])
    for each, key in ((config.encoder, "encoder"), (config.views["audio"], "views.audio")):
        assert (each.options, each.tune_from) == (({"dim": 8}, 3) if kept else ({}, None)) and each.pooling == "mean"
        assert (f"dropped {key}.options" in caplog.text) != kept


class Images:
    classes, labels, texts = ("a",), [0], ["a"]

    def __init__(self, *shape):
        self.shape = shape

    def __len__(self):
        return 1

    def __getitem__(self, row):
        return {"image": torch.rand(self.shape), "text": "a", "label": 0}


@pytest.mark.parametrize(
    ("shape", "given", "channels", "size"),
    [
        ((3, 16, 16), {}, 3, 16),
        ((1, 28, 28), {}, 1, 28),
        ((3, 16, 24), {}, 3, None),
        ((3, 16, 16), {"size": 8}, 3, 8),
        ((1, 16, 16), {"channels": 3, "size": 16}, 3, 16),
    ],
)
def test_an_image_encoder_follows_the_data(shape, given, channels, size):
    section = EncoderSection(modality="image", options={"dim": 8, **given}).following(Images(*shape))
    encoder = section.encoder()
    assert (encoder.channels, encoder.size, encoder.dim) == (channels, size, 8)
    assert encoder(Images(*shape)[0]["image"][None]).pooled.shape == (1, 8)


def test_other_encoders_do_not_follow_the_data():
    for section in (EncoderSection(), EncoderSection(modality="image", name="timm:resnet18")):
        assert section.following(Images(3, 8, 8)) == section

"""Config sections of encoders."""

import pytest
from pydantic import ValidationError

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


def test_text_section_builds_a_text_encoder():
    assert TextSection(options={"dim": 12}).build().pooled_dim == 12


@pytest.mark.parametrize("wrong", [{"modality": "video"}, {"tune_from": "last"}, {"poolin": "max"}])
def test_invalid_settings_raise(wrong):
    with pytest.raises(ValidationError):
        EncoderSection(**wrong)

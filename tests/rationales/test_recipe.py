import pytest

from mmcl.config.signature import argument_texts
from mmcl.errors import ConfigError
from mmcl.rationales.recipe import Recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, r"epochs.*\b0\b"),
        ({"delay": 0}, r"delay.*\b0\b"),
        ({"train_discriminator_every": 0}, r"train_discriminator_every.*\b0\b"),
        ({"refresh": 1.5}, r"refresh.*1\.5"),
        ({"temperature": 0.0}, r"temperature.*0\.0"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Recipe(**settings)


def test_every_setting_has_a_help_text():
    assert list(argument_texts(Recipe)) == list(Recipe.__dataclass_fields__)
    assert all(not text.startswith("of ") for text in argument_texts(Recipe).values())

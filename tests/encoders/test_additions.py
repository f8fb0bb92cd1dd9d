import pytest

from mmcl.encoders.lora import LoRA
from mmcl.encoders.prompts import Prompts
from mmcl.errors import ConfigError


@pytest.mark.parametrize("kind", [LoRA, Prompts])
def test_settings_are_plain_data_and_back(kind):
    assert kind.of(kind().spec) == kind() == kind.of({}) and kind.of(kind()) == kind()


def test_tuples_are_lists_in_plain_data():
    assert LoRA(targets=("q_proj",)).spec["targets"] == ["q_proj"]


@pytest.mark.parametrize(("kind", "wrong", "known"), [(LoRA, "rnak", "rank"), (Prompts, "sice", "size")])
def test_an_unknown_setting_names_the_nearest(kind, wrong, known):
    with pytest.raises(ConfigError, match=f"'{wrong}' of {kind.key}.*'{known}'"):
        kind.of({wrong: 1})

"""Tests of the settings of rationale distillation."""

import pytest

from mmcl.errors import ConfigError
from mmcl.rationales.recipe import Recipe
from mmcl.sections.rationales import RationaleSection


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"accumulate": 0},
        {"delay": 0},
        {"sample_length": 0},
        {"train_discriminator_every": 0},
        {"refresh": 1.5},
        {"refresh": -0.1},
        {"temperature": 0.0},
    ],
)
def test_values_out_of_range_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError, match=f"{name}={value}"):
        Recipe(**wrong)


def test_a_config_makes_the_recipe_of_its_settings():
    recipe = RationaleSection(accumulate=3, weights={"beta": 0.4}).recipe()
    assert recipe.accumulate == 3 and recipe.weights.beta == 0.4 and recipe.delay == Recipe().delay

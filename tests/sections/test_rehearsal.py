import inspect

import pytest

from mmcl import strategies
from mmcl.sections.rehearsal import RehearsalSection
from mmcl.sections.strategy_names import REHEARSAL

MEMORY = {"memory_size": 30, "selection": "herding", "by_superclass": True}


@pytest.mark.parametrize("name", REHEARSAL)
def test_each_strategy_takes_its_settings(name):
    settings = RehearsalSection().settings(MEMORY)[name]
    parameters = inspect.signature(getattr(strategies, name)).parameters
    assert settings.keys() <= parameters.keys() and settings["memory_size"] == 30
    own = {key: value for key, value in settings.items() if key not in MEMORY}
    assert all(parameters[key].default == value for key, value in own.items())


def test_settings_of_a_strategy_are_its_own():
    settings = RehearsalSection(der={"alpha": 0.1}, der_pp={"alpha": 0.2, "beta": 1.0}).settings(MEMORY)
    assert settings["der"]["alpha"] == 0.1 and "beta" not in settings["der"]
    assert (settings["der_pp"]["alpha"], settings["der_pp"]["beta"]) == (0.2, 1.0)
    assert settings["agem"]["selection"] == "herding" and "selection" not in settings["gdumb"]

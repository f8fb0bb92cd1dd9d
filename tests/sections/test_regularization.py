import pytest
from pydantic import ValidationError

from mmcl.sections.regularization import RegularizationSection


def test_each_strategy_has_its_settings():
    section = RegularizationSection(ewc={"online": True, "decay": 0.9}, mas={"weight": 3})
    assert section.settings("ewc") == {
        "weight": 1000.0,
        "online": True,
        "decay": 0.9,
        "labels": "data",
        "samples": None,
    }
    assert section.settings("mas")["weight"] == 3 and section.settings("naive") == {}
    with pytest.raises(ValidationError, match="damping"):
        RegularizationSection(si={"damping": 0})

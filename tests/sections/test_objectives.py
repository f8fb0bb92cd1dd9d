"""Config sections of objectives."""

from __future__ import annotations

import inspect

import pytest
import torch
from pydantic import ValidationError

import mmcl.objectives
from mmcl.config.listing import list_settings
from mmcl.sections.objectives import IN_STRATEGIES, ObjectivesSection, objectives
from mmcl.sections.towers import PretrainingSection


def test_every_objective_that_two_towers_can_train_is_found():
    assert {"clip", "cwcl", "dcl", "hard_contrastive", "m3co", "mm", "mv_dhel", "nt_xent", "siglip"} <= set(
        objectives()
    )
    assert "nspt" not in objectives()  # it needs a teacher
    assert set(objectives()) - set(objectives(IN_STRATEGIES)) == {
        "beclr",
        "codiemb_similarity",
        "conr",
        "l1",
        "sep_clr",
        "supremix",
        "susana",
    }


@pytest.mark.parametrize("name", objectives())
def test_every_argument_of_a_constructor_can_be_set(name):
    objective = getattr(mmcl.objectives, objectives()[name].partition(":")[2])
    arguments = set(inspect.signature(objective).parameters) - {"temperature", "block_size", "gather"}
    section = getattr(ObjectivesSection(), name, None)
    assert set(section.model_dump() if section else ()) == arguments


def test_settings_reach_the_objective():
    config = PretrainingSection(
        objective=["m3co", "siglip"], objectives={"m3co": {"alpha": 0.4}, "siglip": {"bias": -3}}
    )
    assert config.make_objective("m3co").alpha == 0.4 and config.make_objective("siglip").bias == -3
    assert config.make_objective("m3co").mix_share == 0.5
    listed = {each.key: each for each in list_settings(PretrainingSection)}
    assert listed["objectives.m3co.alpha"].default == "0.15" and listed["objectives.m3co.alpha"].description


@pytest.mark.parametrize(
    "wrong",
    [
        {"objective": ["clop"]},
        {"objective": ["clip+clop"]},
        {"objectives": {"m3co": {"beta": 1}}},
        {"objectives": {"x": {}}},
    ],
)
def test_unknown_objectives_and_settings_raise(wrong):
    with pytest.raises(ValidationError):
        PretrainingSection(**wrong)


@pytest.mark.parametrize("name", objectives())
def test_every_objective_is_built(name):
    sizes = {"simlap": {"dim": 3, "classes": 3}, "beclr": {"dim": 3}}
    objective = PretrainingSection(temperature=0.2, objectives=sizes).make_objective(name)
    a, b, labels = torch.randn(6, 3), torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    inputs = {"a": a, "b": b, "views": torch.stack([a, b]), "features": torch.cat([a, b]), "labels": labels}
    inputs["teacher"] = inputs["features"]
    inputs |= {"rows": torch.arange(6), "is_support": (torch.arange(6) % 2 == 0).repeat(2)}
    inputs |= {"predictions": torch.arange(12.0), "targets": torch.arange(12.0).flip(0)}
    inputs |= {"salient": torch.stack([b, a]), "is_target": torch.arange(6) % 2 == 0}
    if "features" in objective.takes:
        inputs["labels"] = labels.repeat(2)
    if "a" in objective.takes:
        inputs["targets"] = torch.arange(6.0)
    assert objective.of(inputs).isfinite()


def test_an_objective_can_have_its_own_temperature():
    config = PretrainingSection(objective=["clip@0.5", "clip", "siglip@2"], temperature=0.3)
    assert [config.make_objective(name).temperature for name in config.objective] == [0.5, 0.3, 2.0]


@pytest.mark.parametrize("text", ["clip@", "clip@warm", "clip@0", "clip@-1", "clip@nan", "clip@inf", "clap@0.5"])
def test_a_bad_temperature_of_an_objective_is_named(text):
    with pytest.raises(ValidationError, match=text.partition("@")[0]):
        PretrainingSection(objective=[text])

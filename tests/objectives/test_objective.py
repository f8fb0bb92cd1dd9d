"""Tests of the interface of objectives, which torch and trainers rely on."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

import mmcl.objectives
from mmcl.errors import ConfigError
from mmcl.objectives import CLIPLoss, LearnableTemperature, M3CoLoss, Objective, SigLIPLoss

CLASSES = [
    each
    for each in (getattr(mmcl.objectives, name) for name in mmcl.objectives.__all__)
    if inspect.isclass(each) and issubclass(each, Objective) and each is not Objective
]
#: Objectives that take a number, the initial value of temperatures that they learn themselves.
INITIAL_TEMPERATURE = {"ISogCLRLoss"}
TEMPERED = [kind for kind in CLASSES if kind.__name__ not in INITIAL_TEMPERATURE]
NAMES = {
    *("a", "b", "views", "features", "labels", "rows", "is_rehearsal", "student", "teacher"),
    *("targets", "predictions", "is_support", "salient", "is_target", "yes", "no"),
}


def tempered(named):
    """Return the names that belong to the temperature; objectives may have other parameters and buffers."""
    return [name for name in named if name.partition(".")[0] == "temperature"]


@pytest.mark.parametrize("kind", TEMPERED)
def test_a_learnable_temperature_is_a_parameter_of_the_objective(kind):
    objective = kind(LearnableTemperature(0.2))
    (parameter,) = objective.temperature.parameters()
    assert tempered(objective.state_dict()) == ["temperature.log_scale"] == tempered(dict(objective.named_parameters()))
    assert objective.to(torch.float64).temperature().dtype == torch.float64
    other = kind(LearnableTemperature(0.1))
    other.load_state_dict(objective.state_dict())
    assert other.temperature().item() == pytest.approx(0.2)
    group = nn.ModuleDict({"loss": objective})
    assert id(parameter) in [id(each) for each in group.parameters()]


@pytest.mark.parametrize("kind", TEMPERED)
def test_a_temperature_may_be_a_number_a_tensor_or_a_parameter(kind):
    assert not tempered(dict(kind(0.3).named_parameters())) and not tempered(kind(0.3).state_dict())
    tensor = kind(torch.tensor(0.3))
    assert not tempered(dict(tensor.named_parameters())) and not tempered(tensor.state_dict())
    assert tensor.to(torch.float64).temperature.dtype == torch.float64
    assert tempered(dict(kind(nn.Parameter(torch.tensor(0.3))).named_parameters())) == ["temperature"]


@pytest.mark.parametrize("kind", CLASSES)
def test_takes_lists_the_required_arguments_of_forward(kind):
    required = [
        name
        for name, argument in list(inspect.signature(kind.forward).parameters.items())[1:]
        if argument.default is inspect.Parameter.empty
    ]
    assert len(kind.takes) == len(required) and set(kind.takes) <= NAMES


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind.optional])
def test_optional_arguments_reach_forward(kind):
    arguments = inspect.signature(kind.forward).parameters
    assert all(arguments[name].default is None for name in kind.optional)
    a, b, hard = torch.randn(5, 3), torch.randn(5, 3), torch.randn(5, 2, 3)
    assert kind().of({"a": a, "b": b, "hard_negatives": hard}) == kind()(a, b, hard) != kind()(a, b)


def test_of_passes_the_arguments_by_name():
    a, b = torch.randn(5, 3), torch.randn(5, 3)
    objective = CLIPLoss()
    assert objective.of({"b": b, "labels": None, "a": a}) == objective(a, b)
    with pytest.raises(ConfigError, match="MMLoss .*'labels'.* a, b"):
        mmcl.objectives.MMLoss().of({"a": a, "b": b, "labels": None})


def test_repr_shows_the_settings():
    assert repr(M3CoLoss(alpha=0.3)) == ("M3CoLoss(temperature=0.1, gather=False, alpha=0.3, mix_share=0.5)")
    assert "LearnableTemperature" in repr(SigLIPLoss(LearnableTemperature()))


def test_every_objective_has_its_own_file():
    folder = Path(mmcl.objectives.__file__).parent
    found = {}
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text())
        bases = [
            node for node in tree.body if isinstance(node, ast.ClassDef) and "Objective" in map(ast.unparse, node.bases)
        ]
        assert len(bases) <= 1, path
        found |= {node.name: path.stem for node in bases}
    assert set(found) == {kind.__name__ for kind in CLASSES}

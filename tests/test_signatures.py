"""``help`` of every public strategy, plugin and method shows and documents each argument."""

from __future__ import annotations

import inspect
import re

import pytest
import torch

import mmcl.strategies
import mmcl.unlearning
from mmcl.config.signature import argument_texts
from mmcl.strategies.presets import coconut, icarl, joint, lwf, naive, replay
from mmcl.strategies.regularization import ewc, mas, si
from mmcl.strategies.rehearsal_presets import agem, bic, der, der_pp, er_ace, gdumb, lucir, wa
from mmcl.training.contrastive import ContrastiveTrainer
from mmcl.unlearning.methods import METHODS, settings_of

PRESETS = [naive, joint, replay, lwf, icarl, coconut, er_ace, der, der_pp, gdumb, agem, wa, bic, lucir, ewc, si, mas]
# The settings of `unlearn` depend on its method, and its docstring lists them all.
BY_METHOD = ["unlearn", "unlearn_in_stream"]
PUBLIC = {
    **{name: getattr(mmcl.strategies, name) for name in mmcl.strategies.__all__},
    **{name: value for name in mmcl.unlearning.__all__ if callable(value := getattr(mmcl.unlearning, name))},
    **{f"method {name}": function for name, function in METHODS.items()},
    "ContrastiveTrainer": ContrastiveTrainer,
}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_is_shown_annotated_and_documented(name):
    documented = PUBLIC[name]
    described = argument_texts(documented)
    for argument in inspect.signature(documented).parameters.values():
        if name in BY_METHOD and argument.kind is argument.VAR_KEYWORD:
            continue
        assert argument.kind not in (argument.VAR_KEYWORD, argument.VAR_POSITIONAL), argument
        assert argument.annotation is not argument.empty, argument
        assert len(described.get(argument.name, "").split()) > 1, argument


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_list_their_plugins_defaults_and_an_example(preset):
    model = torch.nn.Linear(8, 4)
    strategy = preset(model, torch.optim.SGD(model.parameters(), lr=0.1))
    made = {type(plugin).__name__ for plugin in strategy.plugins} - {"EvaluationPlugin", "Clock"}
    text = inspect.getdoc(preset)
    listed = set(re.findall(r"^\* :class:`~[\w.]+\.(\w+)`: \w", text, re.MULTILINE))
    assert listed == made
    assert "(batch, classes)" in text and f">>> strategy = {preset.__name__}(" in text
    for argument in inspect.signature(preset).parameters.values():
        if argument.default is not argument.empty:
            assert f"{argument.default!r}``)" in " ".join(text.split()), argument
    assert max(map(len, text.splitlines())) <= 120


def test_an_unknown_setting_of_a_preset_is_an_error():
    model = torch.nn.Linear(8, 4)
    with pytest.raises(TypeError, match="memory"):
        naive(model, torch.optim.SGD(model.parameters(), lr=0.1), memory=3)


@pytest.mark.parametrize("method", METHODS)
def test_unlearn_lists_the_settings_of_all_methods(method):
    text = " ".join(inspect.getdoc(mmcl.unlearning.unlearn).split())
    line = text.split(f"* ``{method}``")[1].split("* ``")[0].split(" Args: ")[0]
    for name, default in settings_of(method).items():
        assert name in ("device", "on_epoch") or f"{name}={default!r}" in line, name

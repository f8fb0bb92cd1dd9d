import pytest
import torch
from torch import nn

from mmcl.errors import CheckpointError
from mmcl.files.loading import check_same, entry, load_optimizer, load_schedule, load_state, match_names, plain_name
from mmcl.freeze import freeze, trainable_state
from mmcl.models.classifier import GrowingHead


class Network(nn.Module):
    """A trunk with BatchNorm, an optionally frozen part, and a growing head."""

    def __init__(self, seed=0, width=4, classes=3):
        super().__init__()
        torch.manual_seed(seed)
        self.front = nn.Linear(2, width)
        self.trunk = nn.Sequential(nn.Linear(width, width), nn.BatchNorm1d(width))
        self.head = GrowingHead(width)
        self.head.grow(range(classes))


def compiled(module):
    return torch.compile(module, backend="eager")


def compiled_inside(module):
    module.trunk = compiled(module.trunk)
    return module


WRAPPINGS = {
    "plain": lambda module: module,
    "compiled": compiled,
    "parallel": nn.DataParallel,
    "both": lambda module: nn.DataParallel(compiled(module)),
    "both, the other way": lambda module: compiled(nn.DataParallel(module)),
    "a part": compiled_inside,
    "a part and the whole": lambda module: nn.DataParallel(compiled_inside(module)),
}


def values(module):
    return {plain_name(name): value for name, value in module.state_dict().items()}


@pytest.mark.parametrize("loaded", WRAPPINGS)
@pytest.mark.parametrize("saved", WRAPPINGS)
def test_state_is_loaded_across_wrappers(saved, loaded):
    one, other = WRAPPINGS[saved](Network(0)), WRAPPINGS[loaded](Network(1, classes=5))
    load_state(other, one.state_dict(), "the state")
    expected, found = values(one), values(other)
    assert expected.keys() == found.keys() and all(torch.equal(expected[name], found[name]) for name in expected)


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


FAULTS = {
    "nothing": (lambda state: {}, r"the state lacks 12 of 12 tensors, first 'front.weight'"),
    "one missing": (without("trunk.0.bias"), r"lacks 1 of 12 tensors, first 'trunk.0.bias'"),
    "a buffer missing": (without("trunk.1.running_mean"), r"lacks 1 of 12 tensors, first 'trunk.1.running_mean'"),
    "one too many": (
        lambda state: {**state, "tail.weight": torch.zeros(1)},
        r"has 1 tensors that Network does not hav",
    ),
    "another shape": (
        lambda state: {**state, "front.bias": torch.zeros(5)},
        r"do not fit, first 'front.bias' \(5,\) of",
    ),
    "another kind": (
        lambda state: {**state, "front.bias": torch.zeros(4, dtype=torch.long)},
        r"'front.bias' \(4,\) of",
    ),
    "no tensor": (lambda state: {**state, "front.bias": 3.0}, r"first 'front.bias' of type float, expected \(4,\) of"),
    "a head of another width": (
        lambda state: {**state, "head.weight": torch.zeros(3, 7)},
        r"the state does not fit \(size mismatch for head.weight",
    ),
    "of other names": (
        lambda state: {f"net.{name}": value for name, value in state.items()},
        r"lacks 12 of 12 tensors, first 'front.weight'",
    ),
    "one under two wrappers": (
        lambda state: {**without("front.bias")(state), "module.front.bias": torch.zeros(4), "_orig_mod.front.bias": 0},
        r"has 1 tensors that Network does not have, first '_orig_mod.front.bias'",
    ),
    "None": (lambda state: None, "the state is of type NoneType, expected tensors by name"),
    "a list": (lambda state: list(state.values()), "the state is of type list"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_mismatch_is_reported_and_loads_nothing(fault):
    change, message = FAULTS[fault]
    network = Network(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_state(network, change(dict(Network(0).state_dict())), "the state")
    if fault != "a head of another width":
        assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_frozen_tensors_are_optional_and_trained_ones_required():
    saved = Network(0)
    freeze(saved.front)
    other = Network(1)
    kept = freeze(other.front).weight.clone()
    load_state(other, trainable_state(saved), "the state")
    assert torch.equal(other.front.weight, kept) and torch.equal(other.trunk[0].weight, saved.trunk[0].weight)
    load_state(other, Network(2).state_dict(), "the state")  # saved during training
    assert torch.equal(other.front.weight, Network(2).front.weight)
    with pytest.raises(CheckpointError, match="lacks 2 of 12 tensors, first 'front.weight'"):
        load_state(Network(1), trainable_state(saved), "the state")


def test_ambiguous_names_are_kept():
    assert match_names({"weight": 1}, ["module.weight", "_orig_mod.weight"]) == {"weight": 1}
    assert match_names({"module.w": 1, "w": 2}, ["module.w", "w"]) == {"module.w": 1, "w": 2}
    assert match_names({"a.module.w": 1}, ["a.w", "w"]) == {"a.w": 1}


def stepped(make, width=3):
    layers = nn.Linear(2, width)
    optimizer = make(layers.parameters())
    layers(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    return optimizer


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=0.1)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        (stepped(adam, width=5).state_dict(), r"'exp_avg' of shape \(5, 2\) for parameter 0, expected \(3, 2\)"),
        (stepped(lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)).state_dict(), "settings that AdamW does not have"),
        (adam([nn.Parameter(torch.ones(1))]).state_dict(), r"has groups of \[1\] parameters, expected \[2\]"),
        (adam([{"params": [p]} for p in nn.Linear(2, 3).parameters()]).state_dict(), r"groups of \[1, 1\] parameters"),
        ({}, "has no 'param_groups'"),
        (None, "has no 'param_groups'"),
    ],
)
def test_state_of_another_optimizer_raises(saved, message):
    with pytest.raises(CheckpointError, match=message):
        load_optimizer(stepped(adam), saved, "the optimizer's state")


def test_state_of_an_optimizer_is_restored():
    one, other = stepped(adam), stepped(adam)
    load_optimizer(other, one.state_dict(), "the optimizer's state")
    assert torch.equal(*(list(each.state.values())[0]["exp_avg"] for each in (one, other)))


def test_schedule_must_exist_in_both_or_neither():
    schedule = torch.optim.lr_scheduler.StepLR(stepped(adam), 2)
    load_schedule(None, None, "the state")
    load_schedule(schedule, {"last_epoch": 7}, "the state")
    assert schedule.last_epoch == 7
    with pytest.raises(CheckpointError, match="the state has no schedule of the learning rate, expected one"):
        load_schedule(schedule, None, "the state")
    with pytest.raises(CheckpointError, match="the state has a schedule of the learning rate, expected none"):
        load_schedule(None, {"last_epoch": 7}, "the state")


def test_entries_and_settings():
    with pytest.raises(CheckpointError, match="the state has no 'epoch'"):
        entry({}, "epoch", "the state")
    check_same(None, {"epochs": 3}, "the state")  # older states lack settings
    check_same({"other": 1}, {"epochs": 3}, "the state")
    with pytest.raises(CheckpointError, match="the state was made with epochs 4, expected 3"):
        check_same({"epochs": 4}, {"epochs": 3}, "the state")

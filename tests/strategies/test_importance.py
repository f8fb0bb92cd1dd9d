import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from mmcl.data import class_incremental
from mmcl.freeze import freeze
from mmcl.models.readouts import StreamingLDA
from mmcl.strategies import ClosedForm, ewc, mas, si
from mmcl.strategies.importance import ImportancePenalty, head_only, views
from mmcl.strategies.kept_memory import kept_bytes

PRESETS = [ewc, si, mas]
every_preset = pytest.mark.parametrize("preset", PRESETS)


def plugin_of(strategy):
    return next(each for each in strategy.plugins if isinstance(each, ImportancePenalty))


@every_preset
def test_parameters_of_new_classes_have_no_importance(preset, make, benchmark):
    strategy = make(preset)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    plugin, head = plugin_of(strategy), strategy.model.head
    known = len(head.weight)
    assert plugin.importance["head.weight"].shape == head.weight.shape
    rest = sorted(set(range(10)) - set(benchmark.train_stream[0].group))
    head.grow(rest)
    plugin.before_training_exp(strategy)
    importance = views(plugin._flat[0], plugin._penalized)
    assert importance["head.weight"].shape == head.weight.shape
    assert torch.equal(importance["head.weight"][known:], torch.zeros_like(head.weight[known:]))
    assert torch.equal(importance["head.weight"][:known], plugin.importance["head.weight"])
    unseen = [label for label in rest if label < known]  # a column between those of classes that have arrived
    assert unseen and float(importance["head.weight"][unseen].abs().max()) == 0


@every_preset
def test_frozen_parameters_are_skipped(preset):
    torch.manual_seed(0)
    samples = [(torch.randn(6), row % 4) for row in range(24)]
    benchmark = class_incremental(samples, samples, experiences=2)
    model = nn.Sequential(freeze(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 4))
    before = model[0].weight.clone()
    strategy = preset(model, torch.optim.SGD(model[2].parameters(), lr=0.1))
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    assert set(plugin_of(strategy).importance) == {"model.2.weight", "model.2.bias"}
    assert torch.equal(model[0].weight, before) and all(each.grad is None for each in model[0].parameters())


@every_preset
def test_importances_are_those_of_the_head_also_with_a_read_out(preset, make, benchmark, train):
    expected = train(make(preset), benchmark, 3)
    found = train(make(preset, plugins=[ClosedForm(StreamingLDA())]), benchmark, 3)
    assert all(torch.equal(found[name], each) for name, each in expected.items())


def test_a_model_is_restored_after_it_classified_by_its_head():
    model = nn.Module()
    model.readout = nn.Identity()
    with pytest.raises(KeyError), head_only(model) as found:
        assert found.readout is None and not found.training
        raise KeyError
    assert isinstance(model.readout, nn.Identity) and model.training


class WithUnused(nn.Module):
    """A classifier with a parameter that its output does not depend on."""

    def __init__(self):
        super().__init__()
        self.layer, self.unused = nn.Linear(6, 4), nn.Parameter(torch.ones(1000))

    def forward(self, features):
        return self.layer(features)


@every_preset
def test_parameters_that_are_not_used_are_neither_kept_nor_trained(preset):
    torch.manual_seed(0)
    samples = [(torch.randn(6), row % 4) for row in range(24)]
    benchmark = class_incremental(samples, samples, experiences=3)
    model = WithUnused()
    strategy = preset(model, torch.optim.AdamW(model.parameters(), lr=0.1))
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        assert set(plugin_of(strategy).importance) == {"model.layer.weight", "model.layer.bias"}
    assert kept_bytes(strategy.plugins) == 2 * 4 * 28
    assert model.unused.grad is None and model.unused.tolist() == [1.0] * 1000


@every_preset
def test_former_states_with_importances_of_zero_are_loaded(preset, make, benchmark):
    strategy, former = make(preset), make(preset)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    state = strategy.state_dict()
    plugin = next(each for each in state["plugins"] if each and "importance" in each)
    for name, each in strategy.model.named_parameters():
        if each.requires_grad and name not in plugin["importance"]:
            plugin["importance"][name], plugin["anchor"][name] = torch.zeros_like(each), each.detach().clone()
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    former.load_state_dict(state)  # also the random state from before the experience
    former.train(benchmark.train_stream[1], eval_streams=[])
    expected, found = plugin_of(strategy).importance, plugin_of(former).importance
    assert all(torch.equal(found[name], each) for name, each in expected.items())


CASES = """
import json, sys
import torch
from torch import nn
from mmcl import distributed, strategies
from mmcl.data import class_incremental

distributed.launch(int(sys.argv[1]))
torch.manual_seed(0)
samples = [(torch.randn(6) + row % 6, row % 6) for row in range(60)]
benchmark = class_incremental(samples, samples, experiences=3, seed=0)
found = {}
for name in ("ewc", "si", "mas"):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 6))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    strategy = getattr(strategies, name)(model, optimizer, weight=0.5, epochs=2, batch_size=8)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    plugin = strategy.plugins[0]
    found[name] = {key: each.flatten().tolist() for key, each in plugin.importance.items()}
    found[name]["loss"] = [strategy.losses[name]]
    found[name]["weights"] = model[0].weight.flatten().tolist()
if distributed.is_main():
    print(json.dumps(found))
distributed.leave()
"""


def test_two_processes_equal_one(tmp_path):
    (tmp_path / "cases.py").write_text(CASES)
    found = []
    for processes in ("1", "2"):
        command = [sys.executable, "-W", "ignore", str(tmp_path / "cases.py"), processes]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    for name, values in found[0].items():
        for key, value in values.items():
            assert found[1][name][key] == pytest.approx(value, rel=1e-3, abs=1e-5), (name, key)


@every_preset
def test_importances_and_anchors_count_as_kept(preset, make, benchmark):
    strategy = make(preset, epochs=1)
    assert kept_bytes(strategy.plugins) == 0
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    used = sum(each.numel() for each in strategy.model.parameters() if each.grad is not None)
    assert kept_bytes(strategy.plugins) == 2 * 4 * used

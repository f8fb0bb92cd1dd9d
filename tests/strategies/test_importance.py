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
from mmcl.strategies.importance import ImportancePenalty, flat, gradients, head_only
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
    importance = plugin._named(plugin._flat[0])
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


def test_parameters_without_a_gradient_count_as_zero():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1))
    (3 * flat([used, unused])[:2]).sum().backward()
    unused.grad = None
    assert gradients([used, unused]).tolist() == [3, 3, 0]


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
    trained = sum(each.numel() for each in strategy.model.parameters() if each.requires_grad)
    assert kept_bytes(strategy.plugins) == 2 * 4 * trained

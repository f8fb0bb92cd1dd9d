import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from mmcl.data import class_incremental
from mmcl.encoders.feature_dataset import FeatureDataset
from mmcl.encoders.feature_store import FeatureSpan
from mmcl.errors import CheckpointError
from mmcl.freeze import trainable_state
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import coconut, icarl, lwf, naive, replay
from mmcl.strategies import teacher as teacher_module
from mmcl.strategies.coconut import Coconut
from mmcl.strategies.distillation import AudioDistillation, LogitDistillation, TokenDistillation
from mmcl.strategies.sequence_distillation import SequenceDistillation
from mmcl.strategies.teacher import Teacher, teacher_of

NEEDED = [
    (lwf, {}),
    (icarl, {}),
    (coconut, {}),
    (replay, {"plugins": [AudioDistillation(), TokenDistillation(), LogitDistillation()]}),
    (naive, {"plugins": [TokenDistillation(), Teacher()]}),
]
NOT_NEEDED = [
    (naive, {}),
    (replay, {}),
    (lwf, {"weight": 0.0}),
    (coconut, {"nspt_weight": 0.0}),
    (replay, {"plugins": [AudioDistillation(0.0), TokenDistillation(0.0), SequenceDistillation()]}),
]


def teachers(strategy):
    return [plugin for plugin in strategy.plugins if isinstance(plugin, Teacher)]


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("preset", "settings"), NEEDED)
def test_a_teacher_is_added_if_a_plugin_needs_it(preset, settings, make):
    assert len(teachers(make(preset, **settings))) == 1


@pytest.mark.parametrize(("preset", "settings"), NOT_NEEDED)
def test_no_teacher_is_added_if_no_plugin_needs_it(preset, settings, make):
    strategy = make(preset, **settings)
    assert teachers(strategy) == [] and teacher_of(strategy) is None


def test_the_teacher_is_none_in_the_first_experience_and_then_the_latest_model(make, benchmark):
    seen = []

    class Watcher(SupervisedPlugin):
        def before_training_epoch(self, strategy, **kwargs):
            seen.append(teacher_of(strategy))

    strategy = make(lwf, plugins=[Watcher()], epochs=1)
    for experience in benchmark.train_stream[:3]:
        strategy.train(experience, eval_streams=[])
    assert seen[0] is None and None not in seen[1:] and seen[1] is not seen[2]
    assert equal(state(strategy.model), state(teacher_of(strategy)))


def test_the_teacher_does_not_change_while_the_student_trains(make, benchmark, digits):
    strategy = make(lwf)
    strategy.model.trunk = nn.Sequential(strategy.model.trunk, nn.BatchNorm1d(64), nn.Dropout(0.5))
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    teacher = teacher_of(strategy)
    before, batch = state(teacher), digits[0].batch(torch.arange(20))
    answer = teacher(batch).logits.clone()

    class Watcher(SupervisedPlugin):
        steps = 0

        def after_backward(self, strategy, **kwargs):
            assert strategy.model.trunk[2].training and not any(part.training for part in teacher.modules())
            assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
            self.steps += 1

    watcher = Watcher()
    strategy.plugins.append(watcher)
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert watcher.steps > 4
    assert equal(before, state(teacher)) and torch.equal(teacher(batch).logits, answer)
    assert not torch.equal(strategy.model.trunk[1].running_mean, teacher.trunk[1].running_mean)
    teacher.train()
    assert torch.equal(teacher(batch).logits, answer)


def test_state_round_trip(make, benchmark, tmp_path):
    strategy = make(lwf)
    assert Teacher().state_dict(strategy) == {}
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    (original,) = teachers(strategy)
    saved = state(original.model)
    save_checkpoint(tmp_path / "teacher.safetensors", original.state_dict(strategy))
    assert original.state_dict(strategy)["teacher"].keys() == trainable_state(strategy.model).keys()

    other = make(lwf, seed=1)
    other.model.grow(range(10))  # the head of a later experience
    other.model.encoder.load_state_dict(strategy.model.encoder.state_dict())  # frozen weights are not in the state
    (plugin,) = teachers(other)
    plugin.load_state_dict(load_checkpoint(tmp_path / "teacher.safetensors"), other)
    assert equal(saved, state(plugin.model))
    assert not plugin.model.training and not any(p.requires_grad for p in plugin.model.parameters())
    assert other.model.training and any(p.requires_grad for p in other.model.parameters())
    plugin.load_state_dict({}, other)
    assert plugin.model is None


def test_state_round_trip_of_a_sequence_to_sequence_model(make_seq2seq, sequence_benchmark, train, tmp_path):
    strategy = make_seq2seq(coconut, epochs=1)
    train(strategy, sequence_benchmark, 1)
    (original,) = teachers(strategy)
    save_checkpoint(tmp_path / "teacher.safetensors", original.state_dict(strategy))
    other = make_seq2seq(coconut, seed=1)
    (plugin,) = teachers(other)
    plugin.load_state_dict(load_checkpoint(tmp_path / "teacher.safetensors"), other)
    assert equal(state(original.model), state(plugin.model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("head.weight"), "teacher.*'head.weight'"),
        (lambda state: state.update(tail=torch.zeros(1)), "teacher.*SLUClassifier.*'tail'"),
        (lambda state: state.update({"trunk.0.bias": torch.zeros(3)}), r"teacher.*'trunk.0.bias' \(3,\)"),
    ],
)
def test_loading_the_state_of_another_teacher_raises(change, message, make, benchmark):
    strategy = make(lwf)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    (plugin,) = teachers(strategy)
    saved = plugin.state_dict(strategy)
    change(saved["teacher"])
    with pytest.raises(CheckpointError, match=message):
        plugin.load_state_dict(saved, strategy)


def test_projections_of_cached_features_are_computed_once(make, benchmark, digits, train, monkeypatch):
    """Samples of other data may differ each time that they are read, and those of a large memory need much space."""
    data = digits[0]
    spans = [FeatureSpan(row, 1, 0) for row in range(len(data))]
    ids = [str(row) for row in range(len(data))]
    cached = FeatureDataset(data, ids, data.features, spans, pooled=True)
    terms, calls = [], []
    for source, most in ((data, 50_000), (cached, 50_000), (cached, 19)):
        monkeypatch.setattr(teacher_module, "_MOST_PROJECTED", most)
        stream = class_incremental(source, digits[1], experiences=5, seed=0)
        strategy = make(coconut, memory_size=20, epochs=2)
        train(strategy, stream, 1)
        teacher = teacher_of(strategy)
        embed, counted = teacher.embed, []
        monkeypatch.setattr(
            teacher, "embed", lambda batch, embed=embed, counted=counted: (counted.append(1), embed(batch))[1]
        )
        strategy.train(stream.train_stream[1], eval_streams=[])
        terms.append(strategy.losses)
        calls.append(len(counted))
    assert calls[1] == 1 < calls[0] == calls[2]
    assert terms[0] == pytest.approx(terms[1], abs=1e-5) and terms[0] == terms[2]


def test_projections_are_of_the_teacher_of_the_experience(make, benchmark, train):
    strategy = make(coconut, memory_size=20, epochs=1)
    train(strategy, benchmark, 3)
    plugin = next(each for each in strategy.plugins if isinstance(each, Coconut))
    previous = plugin._taught.teacher
    assert previous is not teacher_of(strategy)
    strategy.train(benchmark.train_stream[3], eval_streams=[])
    assert plugin._taught.teacher is not previous

import math
from collections import Counter

import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch import nn

from mmcl.data import class_incremental
from mmcl.errors import ConfigError
from mmcl.models import TensorClassifier
from mmcl.strategies import bic, naive, replay, wa
from mmcl.strategies.dark_experience import head_logits
from mmcl.strategies.head_correction import BiasCorrection, WeightAlignment, fit_correction, linear_head
from mmcl.strategies.rehearsal import memory_of
from mmcl.strategies.teacher import teacher_of


class Uncorrected(SupervisedPlugin):
    """Keeps the head after the last epoch, before it is corrected."""

    def after_training_epoch(self, strategy, **kwargs):
        layer = linear_head(strategy.model)
        self.weight, self.bias = layer.weight.detach().clone(), layer.bias.detach().clone()


def norm(row):
    return math.sqrt(sum(value * value for value in row))


def test_weights_of_new_classes_are_scaled_to_the_norm_of_old_ones(make, train, benchmark):
    before = Uncorrected()
    strategy = make(wa, memory_size=20, plugins=[before])
    train(strategy, benchmark, 1)
    assert torch.equal(strategy.model.head.weight, before.weight)  # there are no old classes
    for experience in benchmark.train_stream[1:3]:
        strategy.train(experience, eval_streams=[])
        rows = before.weight.tolist()
        old, new = sorted(experience.previous_classes), sorted(experience.group)
        gamma = sum(norm(rows[c]) for c in old) / len(old) / (sum(norm(rows[c]) for c in new) / len(new))
        expected = [[value * gamma for value in row] if c in new else row for c, row in enumerate(rows)]
        torch.testing.assert_close(strategy.model.head.weight, torch.tensor(expected))
        assert torch.equal(strategy.model.head.bias, before.bias)
        assert torch.equal(teacher_of(strategy).head.weight, strategy.model.head.weight)


def test_weights_can_be_clipped(make, train, benchmark):
    strategy = make(wa, memory_size=20, clip_weights=True)
    train(strategy, benchmark, 2)
    assert strategy.model.head.weight.min() == 0


def slow_loss(logits, labels, old, new, scale, shift):
    losses = []
    for scores, label in zip(logits, labels, strict=True):
        corrected = {c: scores[c] for c in old} | {c: scale * scores[c] + shift for c in new}
        losses.append(math.log(sum(math.exp(each - corrected[label]) for each in corrected.values())))
    return sum(losses) / len(losses)


def test_the_correction_minimizes_the_slow_loss():
    torch.manual_seed(0)
    logits = torch.randn(40, 5)
    logits[:, 3] = -torch.inf  # has not arrived
    logits[:, 4] += 2.0
    labels = torch.tensor([0, 1, 2, 4])[torch.arange(40) % 4]
    scale, shift = fit_correction(logits, labels, [0, 2], [1, 4], penalty=0.05)

    def objective(a, b):
        return slow_loss(logits.tolist(), labels.tolist(), [0, 2], [1, 4], a, b) + 0.05 * ((a - 1) ** 2 + b**2)

    best = objective(scale, shift)
    assert all(
        objective(scale + da, shift + db) > best for da in (-0.01, 0.0, 0.01) for db in (-0.01, 0.0, 0.01) if da or db
    )
    assert best < objective(1.0, 0.0)


def test_the_correction_is_fitted_on_a_balanced_held_out_set_and_joins_the_head(make, train, benchmark):
    before, trained = Uncorrected(), []

    class Rows(SupervisedPlugin):
        def before_training_epoch(self, strategy, **kwargs):
            trained[:] = strategy.dataloader.rows.tolist()

    strategy = make(bic, memory_size=40, held_out=0.4, plugins=[before, Rows()])
    train(strategy, benchmark, 1)
    plugin = next(each for each in strategy.plugins if isinstance(each, BiasCorrection))
    assert plugin.rows == [] and torch.equal(strategy.model.head.weight, before.weight)
    for experience in benchmark.train_stream[1:3]:
        memory = [row for own in memory_of(strategy).memory.values() for row in own]
        strategy.train(experience, eval_streams=[])
        labels = experience.source.labels
        counts = Counter(labels[row] for row in plugin.rows)
        assert set(counts) == set(experience.classes_seen_so_far) and len(set(counts.values())) == 1
        assert sorted([*trained, *plugin.rows]) == sorted([*memory, *experience.dataset.rows[:]])
        new = sorted(experience.group)
        others = sorted(set(experience.classes_seen_so_far) - set(new))
        now = head_logits(strategy, experience.source, plugin.rows)
        layer, a, b = strategy.model.head, plugin.scale, plugin.shift
        torch.testing.assert_close(layer.weight[new], before.weight[new] * a)
        torch.testing.assert_close(layer.bias[new], before.bias[new] * a + b)
        assert torch.equal(layer.weight[others], before.weight[others])
        raw = now.clone()
        raw[:, new] = (now[:, new] - b) / a
        found = fit_correction(raw, torch.tensor([labels[row] for row in plugin.rows]), others, new, 0.01)
        assert found == pytest.approx((a, b), abs=1e-3)
        assert torch.equal(teacher_of(strategy).head.bias, layer.bias)


@pytest.mark.parametrize("preset", [wa, bic])
def test_a_resumed_stream_equals_an_uninterrupted_one(preset, make, train, benchmark):
    states = []

    class Saving(SupervisedPlugin):
        def after_training_epoch(self, strategy, **kwargs):
            states.append(strategy.state_dict())

    expected = train(make(preset, epochs=2, plugins=[Saving()]), benchmark, 3)
    for state, first in (
        (states[2], 1),
        (states[5], 2),
    ):  # within the second experience, and before the last correction
        resumed = make(preset, seed=7, epochs=2, plugins=[Saving()])
        resumed.load_state_dict(state)
        for experience in benchmark.train_stream[first:3]:
            resumed.train(experience, eval_streams=[])
        found = resumed.model.state_dict()
        kept = [name for name in expected if not name.startswith("encoder")]
        assert all(torch.equal(found[name], expected[name]) for name in kept)


def test_the_linear_layer_of_a_plain_model_is_found():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert linear_head(TensorClassifier(model)) is model[2]
    with pytest.raises(ConfigError, match="ReLU"):
        linear_head(TensorClassifier(nn.ReLU()))
    with pytest.raises(ConfigError, match="Sequential"):
        linear_head(TensorClassifier(nn.Sequential(nn.Linear(4, 2, bias=False))))


def test_a_class_of_one_sample_needs_more_samples_and_no_larger_memory():
    samples = [(torch.randn(6), label) for label in (0, 0, 0, 1, 1, 1, 2, 3, 3, 3)]
    model = nn.Linear(6, 4)
    strategy = bic(model, torch.optim.SGD(model.parameters(), lr=0.1), memory_size=8)
    stream = class_incremental(samples, samples, experiences=2, class_order=[0, 1, 2, 3]).train_stream
    strategy.train(stream[0], eval_streams=[])
    with pytest.raises(ConfigError, match="'2' has 1 sample.*add samples"):
        strategy.train(stream[1], eval_streams=[])


def test_faulty_settings_raise(make, train, benchmark):
    with pytest.raises(ConfigError, match=r"held_out is 0\.0"):
        make(bic, held_out=0.0)
    with pytest.raises(ConfigError, match="1 sample.*memory_size"):
        train(make(bic, memory_size=10), benchmark)
    with pytest.raises(ConfigError, match="Rehearsal"):
        make(naive, plugins=[BiasCorrection()]).train(benchmark.train_stream[0], eval_streams=[])
    strategy = make(replay, plugins=[WeightAlignment()], epochs=1)
    strategy.train(benchmark.train_stream[0], eval_streams=[])

from statistics import fmean

import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError, InputError
from mmcl.strategies import AnytimeAccuracy, icarl, replay, slda
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


class ByHand(SupervisedPlugin):
    """Accuracy on the test samples of all experiences so far, after every third step and at the end."""

    def __init__(self, digits, benchmark, every):
        super().__init__()
        self.data, self.tests, self.every, self.found = digits[1], benchmark.test_stream, every, []

    def accuracy(self, strategy):
        number = strategy.experience.current_experience
        rows = [row for experience in self.tests[: number + 1] for row in experience.dataset.rows]
        batch = self.data.batch(torch.tensor(rows))
        strategy.model.eval()
        with torch.no_grad():
            right = strategy.model(batch).logits.argmax(1) == batch["label"]
        strategy.model.train()
        self.found.append(float(right.double().mean()))

    def before_training_iteration(self, strategy, **kwargs):
        done = strategy.clock.train_exp_iterations
        if done and done % self.every == 0:
            self.accuracy(strategy)

    def after_training_exp(self, strategy, **kwargs):
        self.accuracy(strategy)


def test_accuracy_is_the_mean_over_evaluations_on_the_experiences_so_far(make, digits, benchmark, train):
    plugin, reference = AnytimeAccuracy(benchmark.test_stream, every=2), ByHand(digits, benchmark, 2)
    train(make(replay, memory_size=20, epochs=1, plugins=[reference, plugin]), benchmark, 3)
    points = [each for part in plugin.points for each in part]
    assert points == pytest.approx(reference.found) and len(points) > 6
    assert plugin.average()["anytime_accuracy"] == pytest.approx(fmean(points))
    assert plugin.rows[0]["anytime_accuracy"] == pytest.approx(fmean(plugin.points[0]))


def test_training_and_other_measures_are_as_without_it(make, benchmark):
    found = []
    for plugins in ([], [AnytimeAccuracy(benchmark.test_stream, every=2)]):
        accuracy = AccuracyMatrix()
        strategy = make(icarl, memory_size=20, epochs=2, plugins=[accuracy, *plugins])
        for experience in benchmark.train_stream[:3]:
            strategy.train(experience, eval_streams=[])
            strategy.eval(benchmark.test_stream)
        found.append((accuracy.matrix, accuracy.per_class, strategy.model.head.weight))
    assert found[0][:2] == found[1][:2] and torch.equal(found[0][2], found[1][2])


def test_a_strategy_without_steps_is_evaluated_after_each_experience(make_closed, benchmark, train):
    plugin = AnytimeAccuracy(benchmark.test_stream)
    train(make_closed(slda, plugins=[plugin]), benchmark)
    assert [len(part) for part in plugin.points] == [1] * 5 and plugin.average()["anytime_accuracy"] > 0.6


def test_points_resume(make, benchmark, train):
    def made():
        plugin = AnytimeAccuracy(benchmark.test_stream, every=2)
        return make(replay, memory_size=20, epochs=1, plugins=[plugin]), plugin

    whole, expected = made()
    train(whole, benchmark, 3)
    stopped, _ = made()
    train(stopped, benchmark, 2)
    state = stopped.state_dict()
    resumed, found = made()
    resumed.load_state_dict(state)
    resumed.train(benchmark.train_stream[2], eval_streams=[])
    assert found.points == expected.points


def test_faulty_use_raises(benchmark):
    with pytest.raises(ConfigError, match="every is 0"):
        AnytimeAccuracy(benchmark.test_stream, every=0)
    with pytest.raises(InputError):
        AnytimeAccuracy(benchmark.test_stream).average()

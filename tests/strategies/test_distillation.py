import pytest
import torch
from avalanche.core import SupervisedPlugin

from mmcl.errors import ConfigError
from mmcl.objectives import logit_distillation
from mmcl.strategies import lwf, naive
from mmcl.strategies.teacher import teacher_of


def test_without_weight_it_is_naive_bit_for_bit(make, train, benchmark):
    one, other = train(make(naive), benchmark), train(make(lwf, weight=0.0), benchmark)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_teacher_is_the_model_before_the_experience_and_stays_so(make, benchmark):
    strategy = make(lwf)
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    teacher = teacher_of(strategy)
    before = {name: value.clone() for name, value in strategy.model.state_dict().items()}
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())

    watched = []

    class Watcher(SupervisedPlugin):
        def after_backward(self, strategy, **kwargs):
            watched.append((teacher.training, any(p.grad is not None for p in teacher.parameters())))

    strategy.plugins.append(Watcher())
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert set(watched) == {(False, False)}


def test_the_term_is_over_the_classes_the_teacher_knows(make, benchmark):
    strategy, terms = make(lwf, temperature=3.0), []
    strategy.train(benchmark.train_stream[0], eval_streams=[])
    old = sorted(benchmark.train_stream[0].group)
    teacher = teacher_of(strategy)

    class Watcher(SupervisedPlugin):
        def after_backward(self, strategy, **kwargs):
            target = teacher(strategy.mbatch).logits[:, old]
            expected = logit_distillation(strategy.mb_output[:, old], target, 3.0).item()
            seen = strategy.losses["distillation"] - sum(terms)
            terms.append(seen)
            assert seen == pytest.approx(expected, abs=1e-5)

        def before_training_epoch(self, strategy, **kwargs):
            terms.clear()

    strategy.plugins.append(Watcher())
    strategy.train(benchmark.train_stream[1], eval_streams=[])
    assert len(terms) > 1


def test_settings_out_of_range_are_refused(make):
    with pytest.raises(ConfigError, match="weight is -1.0"):
        make(lwf, weight=-1.0)
    with pytest.raises(ConfigError, match="temperature 0.0"):
        make(lwf, temperature=0.0)

import pytest
import torch

from mmcl.errors import ConfigError
from mmcl.objectives import relational_distillation
from mmcl.strategies import naive, replay
from mmcl.strategies.relational_distillation import RelationalDistillation
from mmcl.strategies.teacher import teacher_of


def test_the_term_compares_student_and_teacher(make, train, benchmark, each_step):
    strategy = make(naive, plugins=[RelationalDistillation(0.7, 0.5, 1.5)])
    train(strategy, benchmark, 1)
    seen = []

    def check(strategy, terms):
        teacher = teacher_of(strategy)
        with torch.no_grad():
            expected = relational_distillation(
                strategy.output.embedding, teacher.embed(strategy.mbatch), distance_weight=0.5, angle_weight=1.5
            )
        assert terms["relational_kd"] == pytest.approx(expected.item(), abs=1e-6)
        seen.append(terms["loss"] - terms["cross_entropy"] - 0.7 * terms["relational_kd"])

    each_step(strategy, benchmark.train_stream[1], check)
    assert seen == pytest.approx([0.0] * len(seen), abs=1e-5)


def test_distillation_keeps_relations_of_the_first_classes(make, train, benchmark, digits):
    def change(plugins):
        strategy = make(naive, epochs=10, plugins=plugins)
        train(strategy, benchmark, 1)
        batch = digits[0].batch(torch.tensor(benchmark.train_stream[0].dataset.rows[:]))
        before = strategy.model.eval().embed(batch).detach()
        strategy.train(benchmark.train_stream[1], eval_streams=[])
        return relational_distillation(strategy.model.eval().embed(batch).detach(), before).item()

    assert change([RelationalDistillation(20.0)]) < 0.8 * change([])


def test_zero_weight_equals_training_without_the_plugin(make, train, benchmark):
    one = train(make(replay, memory_size=20), benchmark, 2)
    other = train(make(replay, memory_size=20, plugins=[RelationalDistillation(0.0)]), benchmark, 2)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_settings_out_of_range_raise():
    with pytest.raises(ConfigError, match="angle_weight=-1"):
        RelationalDistillation(angle_weight=-1)


def test_a_model_without_embeddings_raises(make):
    plugin = RelationalDistillation()
    strategy = make(naive, plugins=[plugin])
    strategy.model = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="Linear"):
        plugin.before_training(strategy)

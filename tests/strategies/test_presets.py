import pytest

from mmcl.metrics import forgetting, last_accuracy
from mmcl.strategies import coconut, icarl, joint, naive, replay
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


@pytest.fixture
def remembered(make, benchmark):
    """Function that trains a preset on all experiences, and returns its last accuracy and forgetting."""

    def _remembered(preset, **settings):
        accuracy = AccuracyMatrix()
        strategy = make(preset, plugins=[accuracy], epochs=15, **settings)
        for experience in benchmark.train_stream:
            strategy.train(experience, eval_streams=[])
            strategy.eval(benchmark.test_stream)
        return last_accuracy(accuracy.matrix), forgetting(accuracy.matrix)

    return _remembered


def test_strategies_rank_by_forgetting_as_expected(remembered):
    naive_last, naive_forgetting = remembered(naive)
    replay_last, replay_forgetting = remembered(replay, memory_size=40)
    coconut_last, _ = remembered(coconut, memory_size=40)
    icarl_last, _ = remembered(icarl, memory_size=40)
    joint_last, joint_forgetting = remembered(joint)
    assert naive_last <= 0.3 and naive_forgetting > 0.6  # two of ten classes are left
    assert min(replay_last, coconut_last, icarl_last) > naive_last + 0.2
    assert joint_last > max(replay_last, coconut_last) - 0.05
    assert joint_forgetting < replay_forgetting < naive_forgetting

import pytest

from mmcl.metrics import forgetting
from mmcl.strategies import ewc, mas, naive, si
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


@pytest.fixture
def forgotten(make, benchmark):
    """Function that trains a preset on all experiences, and returns its forgetting."""

    def _forgotten(preset, **settings):
        accuracy = AccuracyMatrix()
        strategy = make(preset, plugins=[accuracy], epochs=10, **settings)
        for experience in benchmark.train_stream:
            strategy.train(experience, eval_streams=[])
            strategy.eval(benchmark.test_stream)
        return forgetting(accuracy.matrix)

    return _forgotten


@pytest.mark.parametrize(("preset", "weight"), [(ewc, 1e5), (si, 1e3), (mas, 10.0)])
def test_a_strong_penalty_keeps_what_naive_training_forgets(preset, weight, forgotten):
    assert forgotten(preset, weight=weight) < forgotten(naive) - 0.1

import pytest

from mmcl.metrics import last_accuracy
from mmcl.strategies import agem, bic, der, der_pp, er_ace, gdumb, lucir, naive, wa
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


@pytest.fixture(scope="module")
def lower_bound():
    return []


def last(make, benchmark, preset, **settings):
    """Last accuracy after 15 epochs of each experience."""
    accuracy = AccuracyMatrix()
    strategy = make(preset, plugins=[accuracy], epochs=15, **settings)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
    return last_accuracy(accuracy.matrix)


@pytest.mark.parametrize("preset", [er_ace, der, der_pp, gdumb, wa, bic, lucir])
def test_a_memory_helps(preset, make, benchmark, lower_bound):
    if not lower_bound:
        lower_bound.append(last(make, benchmark, naive))
    assert last(make, benchmark, preset, memory_size=40) > lower_bound[0] + 0.2


def test_projected_gradients_do_no_harm(make, benchmark, lower_bound):
    """A-GEM is known to be little better than naive when classes arrive."""
    if not lower_bound:
        lower_bound.append(last(make, benchmark, naive))
    assert last(make, benchmark, agem, memory_size=40) >= lower_bound[0] - 0.05

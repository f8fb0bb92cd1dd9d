import pytest
import torch
from avalanche.core import SupervisedPlugin
from torch.nn.functional import normalize

from mmcl.data import class_incremental
from mmcl.strategies import icarl
from mmcl.strategies.rehearsal import Rehearsal


@pytest.mark.parametrize(("experiences", "trained"), [(5, 3), (2, 1)])  # tests of 12 samples a batch, and of 30
def test_the_prediction_is_the_class_with_the_nearest_mean_exemplar(make, train, digits, experiences, trained):
    predicted, benchmark = [], class_incremental(*digits, experiences=experiences, seed=0)

    class Watcher(SupervisedPlugin):
        def after_eval_iteration(self, strategy, **kwargs):
            predicted.extend(strategy.mb_output.argmax(1).tolist())

    strategy = make(icarl, memory_size=20, plugins=[Watcher()])
    train(strategy, benchmark, trained)
    strategy.eval(benchmark.test_stream)

    train_set, test_set = digits
    memory = next(plugin for plugin in strategy.plugins if isinstance(plugin, Rehearsal)).memory
    model = strategy.model.eval()

    def embed(dataset, row):
        with torch.no_grad():
            return normalize(model.embed(dataset.batch(torch.tensor([row]))), dim=1)[0]

    means = {y: normalize(sum(embed(train_set, row) for row in rows), dim=0) for y, rows in memory.items()}
    rows = [row for experience in benchmark.test_stream for row in experience.dataset.rows]
    for row, label in zip(rows, predicted, strict=True):
        distances = {y: (embed(test_set, row) - mean).norm().item() for y, mean in means.items()}
        assert label == min(distances, key=distances.get)
    assert set(predicted) <= set(memory)  # classes that have not arrived are never predicted

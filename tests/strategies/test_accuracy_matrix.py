import math

import pytest
import torch

from mmcl.data import class_incremental
from mmcl.errors import InputError
from mmcl.metrics import forward_transfer, summary
from mmcl.runs.checkpoint import load_checkpoint, save_checkpoint
from mmcl.strategies import naive
from mmcl.strategies.accuracy_matrix import AccuracyMatrix


class FixedPredictions(torch.nn.Module):
    """A model with a fixed prediction for each row."""

    def __init__(self, predictions):
        super().__init__()
        self.predictions = predictions
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def grow(self, labels):
        """The head always has all classes."""

    def forward(self, batch):
        from mmcl.models.classifier import Classified

        logits = torch.nn.functional.one_hot(self.predictions[batch["rows"]], 4).float() + 0 * self.weight
        return Classified(logits, logits)


class Four:
    """Eight samples of four classes."""

    classes = ("a", "b", "c", "d")
    labels = [0, 0, 0, 1, 2, 2, 3, 3]
    texts = ["a"] * 8

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {"features": torch.zeros(1), "label": self.labels[index]}


def test_rows_sizes_and_classes_by_hand():
    data = Four()
    benchmark = class_incremental(data, data, experiences=2, class_order=[0, 1, 2, 3])
    accuracy = AccuracyMatrix()
    model = FixedPredictions(torch.tensor([0, 0, 1, 1, 3, 3, 3, 0]))
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.1), plugins=[accuracy], eval_batch_size=3)
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
    assert accuracy.matrix == [[3 / 4, 1 / 4]] * 2
    assert accuracy.sizes == [4, 4]
    assert accuracy.per_class[0] == {0: 2 / 3, 1: 1.0, 2: 0.0, 3: 0.5}

    other = AccuracyMatrix()
    other.load_state_dict(accuracy.state_dict(strategy), strategy)
    assert (other.matrix, other.sizes, other.per_class) == (accuracy.matrix, accuracy.sizes, accuracy.per_class)


def train_and_evaluate(order, experiences=2):
    """Train on all experiences, and evaluate ``order(benchmark, number)`` after each.

    Return the plugin and the strategy.
    """
    data = Four()
    benchmark = class_incremental(data, data, experiences=experiences, class_order=[0, 1, 2, 3])
    accuracy, model = AccuracyMatrix(), FixedPredictions(torch.tensor([0, 0, 1, 1, 3, 3, 3, 0]))
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.1), plugins=[accuracy])
    for number, experience in enumerate(benchmark.train_stream):
        strategy.train(experience, eval_streams=[])
        for evaluated in order(benchmark, number):
            strategy.eval(evaluated)
    return accuracy, strategy


ORDERS = {
    "reversed": lambda benchmark, number: [list(benchmark.test_stream)[::-1]],
    "one by one": lambda benchmark, number: list(benchmark.test_stream),
    "one by one, reversed": lambda benchmark, number: list(benchmark.test_stream)[::-1],
    "twice": lambda benchmark, number: [benchmark.test_stream, benchmark.test_stream],
    "with the training data": lambda benchmark, number: [benchmark.test_stream, benchmark.train_stream],
    "in two parts": lambda benchmark, number: [benchmark.test_stream[1:], benchmark.test_stream[:1]],
}


@pytest.mark.parametrize("order", ORDERS)
def test_cells_do_not_depend_on_the_order_of_evaluation(order):
    accuracy, _ = train_and_evaluate(ORDERS[order])
    assert accuracy.matrix == [[3 / 4, 1 / 4]] * 2 and accuracy.sizes == [4, 4]
    assert accuracy.per_class == [{0: 2 / 3, 1: 1.0, 2: 0.0, 3: 0.5}] * 2
    assert accuracy.baseline == []


def test_cells_without_an_evaluation_are_nan():
    accuracy, _ = train_and_evaluate(lambda benchmark, number: [benchmark.test_stream[: number + 1]], experiences=4)
    assert [[not math.isnan(cell) for cell in row] for row in accuracy.matrix] == [
        [column <= row for column in range(4)] for row in range(4)
    ]
    assert accuracy.sizes == [3, 1, 2, 2]
    measures = summary(accuracy.matrix, accuracy.sizes)
    assert measures["last_accuracy"] == pytest.approx(4 / 8) and measures["forgetting"] == 0
    assert math.isnan(measures["forward_transfer"])
    accuracy, _ = train_and_evaluate(lambda benchmark, number: [benchmark.test_stream] if number == 1 else [])
    assert math.isnan(accuracy.matrix[0][0]) and accuracy.matrix[1] == [3 / 4, 1 / 4]
    with pytest.raises(InputError, match="experience 0.*experience 0"):
        summary(accuracy.matrix, accuracy.sizes)


def test_the_baseline_is_separate_from_the_rows_of_training():
    data = Four()
    benchmark = class_incremental(data, data, experiences=2, class_order=[0, 1, 2, 3])
    accuracy, model = AccuracyMatrix(), FixedPredictions(torch.tensor([0, 0, 1, 1, 3, 3, 3, 0]))
    strategy = naive(model, torch.optim.SGD(model.parameters(), lr=0.1), plugins=[accuracy])
    strategy.eval(benchmark.test_stream)
    assert accuracy.matrix == [[3 / 4, 1 / 4]] and accuracy.per_class == [{0: 2 / 3, 1: 1.0, 2: 0.0, 3: 0.5}]
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(benchmark.test_stream)
    assert accuracy.matrix == [[3 / 4, 1 / 4]] * 2 and accuracy.baseline == [3 / 4, 1 / 4]
    assert forward_transfer(accuracy.matrix, baseline=accuracy.baseline) == 0


def test_a_state_keeps_the_experience_of_each_row_and_cell(tmp_path):
    kept, strategy = train_and_evaluate(lambda benchmark, number: [benchmark.test_stream[:1]] if number == 1 else [])
    save_checkpoint(tmp_path / "state.safetensors", kept.state_dict(strategy))
    other = AccuracyMatrix()
    other.load_state_dict(load_checkpoint(tmp_path / "state.safetensors"), strategy)
    assert repr(other.matrix) == repr(kept.matrix) == "[[nan, nan], [0.75, nan]]"
    assert (other.sizes, other.per_class, other.trained) == ([4, 0], [{}, {0: 2 / 3, 1: 1.0}], 1)
    strategy.plugins[strategy.plugins.index(kept)] = other
    data = Four()
    strategy.eval(class_incremental(data, data, experiences=2, class_order=[0, 1, 2, 3]).test_stream[1])
    assert other.matrix[1] == [3 / 4, 1 / 4] and other.sizes == [4, 4]


def test_a_state_without_row_numbers_is_restored():
    kept, strategy = train_and_evaluate(lambda benchmark, number: [benchmark.test_stream])
    state = kept.state_dict(strategy)
    del state["rows"], state["trained"]
    other = AccuracyMatrix()
    other.load_state_dict(state, strategy)
    assert (other.matrix, other.sizes, other.per_class) == (kept.matrix, kept.sizes, kept.per_class)
    assert other.trained == 1
    empty = AccuracyMatrix()
    empty.load_state_dict(AccuracyMatrix().state_dict(None), None)
    assert (empty.matrix, empty.per_class, empty.trained) == ([], [], -1)

import torch

from mmcl.data import class_incremental
from mmcl.metrics.accuracy_matrix import AccuracyMatrix
from mmcl.strategies import naive


class Answers(torch.nn.Module):
    """Says what it is told to, whatever it hears."""

    def __init__(self, answers):
        super().__init__()
        self.answers = answers
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def grow(self, labels):
        """Knows all classes."""

    def forward(self, batch):
        from mmcl.models.classifier import Classified

        logits = torch.nn.functional.one_hot(self.answers[batch["rows"]], 4).float() + 0 * self.weight
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
    model = Answers(torch.tensor([0, 0, 1, 1, 3, 3, 3, 0]))
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


def test_states_of_streams_that_differ_are_kept():
    kept, other = AccuracyMatrix(), AccuracyMatrix()
    other.load_state_dict(kept.state_dict(None), None)
    assert (other.matrix, other.per_class) == ([], [])
    kept.matrix, kept.sizes = [[0.1], [0.1, 1 / 3], []], [4, 3]
    kept.per_class = [{3: 0.1}, {3: 0.1, 1: 1 / 3}, {}]
    other.load_state_dict(kept.state_dict(None), None)
    assert (other.matrix, other.sizes, other.per_class) == (kept.matrix, kept.sizes, kept.per_class)

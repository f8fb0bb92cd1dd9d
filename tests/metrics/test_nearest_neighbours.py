import pytest
import torch

from mmcl.errors import ConfigError, LabelError, ShapeError
from mmcl.metrics.nearest_neighbours import nearest_neighbours


def slow(train, train_labels, test, test_labels, neighbours):
    right = 0
    for row, label in zip(test.double(), test_labels, strict=True):
        row = row / row.norm()
        distances = [(row - each / each.norm()).norm().item() for each in train.double()]
        votes = {}
        for place in sorted(range(len(distances)), key=distances.__getitem__)[:neighbours]:
            votes[train_labels[place]] = votes.get(train_labels[place], 0.0) + 1 / distances[place]
        right += max(votes, key=votes.get) == label
    return right / len(test_labels)


@pytest.mark.parametrize("neighbours", [1, 5, 20])
def test_votes_are_those_of_a_slow_loop(neighbours):
    torch.manual_seed(0)
    train, test = torch.randn(60, 4), torch.randn(40, 4)
    told, asked = (torch.randint(3, (count,)).tolist() for count in (60, 40))
    found = nearest_neighbours(train, told, test, asked, neighbours=neighbours)
    assert found == pytest.approx(slow(train, told, test, asked, neighbours))
    assert found == nearest_neighbours(train * torch.rand(60, 1), told, 7 * test, asked, neighbours=neighbours)


def test_fewer_samples_than_neighbours_all_vote():
    assert nearest_neighbours(torch.eye(3), [0, 1, 1], torch.eye(3), [0, 1, 1], neighbours=99) == 1.0


def test_bad_input_is_refused():
    with pytest.raises(ConfigError, match="0"):
        nearest_neighbours(torch.eye(2), [0, 1], torch.eye(2), [0, 1], neighbours=0)
    with pytest.raises(LabelError):
        nearest_neighbours(torch.eye(2), [0, 0], torch.eye(2), [0, 0])
    with pytest.raises(ShapeError):
        nearest_neighbours(torch.eye(2), [0, 1, 1], torch.eye(2), [0, 1])

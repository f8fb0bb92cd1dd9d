import pytest
import torch
from waits import elsewhere

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.embedding_map import embedding_map


def test_neighbours_stay_close():
    torch.manual_seed(0)
    labels = [row % 3 for row in range(60)]
    embeddings = 10 * torch.eye(3)[labels] @ torch.randn(3, 16) + torch.randn(60, 16) * 0.1
    found = embedding_map(embeddings, labels)
    points = torch.tensor(found["points"])
    assert found["labels"] == labels and points.shape == (60, 2)
    nearest = torch.cdist(points, points).fill_diagonal_(torch.inf).argmin(1)
    assert [labels[row] for row in nearest.tolist()] == labels
    assert found == embedding_map(embeddings, labels)


def test_subsample_keeps_labels_and_points_aligned():
    torch.manual_seed(0)
    labels = [row % 2 for row in range(80)]
    embeddings = 50.0 * torch.tensor(labels)[:, None] + torch.randn(80, 4)
    found = embedding_map(embeddings, labels, limit=30)
    points = torch.tensor(found["points"])
    assert len(points) == len(found["labels"]) == 30
    nearest = torch.cdist(points, points).fill_diagonal_(torch.inf).argmin(1)
    assert [found["labels"][row] for row in nearest.tolist()] == found["labels"]


def test_invalid_inputs_raise():
    with pytest.raises(ShapeError, match="there are 3 labels, expected .samples, dim., 4 or more"):
        embedding_map(torch.zeros(3, 2), [0, 1, 2])


@pytest.mark.parametrize("size", [0.0, 1.0, 0.1, 1e30, 1e-30])
def test_equal_embeddings_are_one_point(size):
    assert embedding_map(torch.full((8, 3), size), [0] * 8)["points"] == [[0.0, 0.0]] * 8


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_map_does_not_depend_on_scale(scale):
    rows = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    points = torch.tensor(embedding_map(rows * scale, [0] * 12)["points"])
    assert points.shape == (12, 2) and bool(points.isfinite().all()) and points.std() > 0
    assert len(embedding_map(rows[:, :1], [0] * 12)["points"]) == 12  # one dimension
    with elsewhere(), pytest.raises(InputError, match="embeddings: row 2 is not finite"):
        embedding_map(rows.index_fill(0, torch.tensor([2]), torch.nan), [0] * 12)

import pytest
import torch
from waits import no_waits

from mmcl.errors import ShapeError
from mmcl.objectives import Dense, Pairs


class Twice(Pairs):
    """A minimal subclass of Pairs."""

    @property
    def shape(self):
        return 2, 2

    def matmul(self, keys):
        return 2 * keys

    def transposed_matmul(self, queries):
        return 2 * queries

    def gathered(self, processes):
        raise NotImplementedError


def test_the_defaults_follow_from_the_two_products():
    queries, keys = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    assert torch.equal(Twice().dense(keys), 2 * torch.eye(2))
    assert Twice().row_sums(keys).tolist() == Twice().column_sums(keys).tolist() == [2.0, 2.0]
    assert Twice().row_dots(queries, keys).tolist() == Twice().column_dots(queries, keys).tolist() == [6.0, 8.0]
    assert Twice().diagonal is None


def test_scaled_multiplies_rows():
    scaled = Twice().scaled(torch.tensor([1.0, 10.0]))
    assert scaled.dense(torch.zeros(1)).tolist() == [[2.0, 0.0], [0.0, 20.0]]
    assert scaled.column_sums(torch.zeros(1)).tolist() == [2.0, 20.0]
    with pytest.raises(ShapeError, match=r"factors .*\(3,\).*\(2,\)"):
        Twice().scaled(torch.ones(3))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.long, torch.float16, torch.float64])
def test_dense_weights_are_the_same_where_values_are_not_read(dtype):
    matrix = torch.tensor([[0, 1, 2], [1, 0, 0]]).to(dtype)
    like = torch.zeros(1)
    with no_waits():
        found = Dense(matrix).dense(like)
    assert torch.equal(found, Dense(matrix).dense(like)) and torch.equal(found, matrix.float())


def test_a_boolean_mask_is_neither_checked_nor_copied():
    mask = torch.zeros(2, 3, dtype=torch.bool)
    with no_waits():
        assert Dense(mask).matrix is mask

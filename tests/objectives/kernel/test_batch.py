import pytest
import torch

from mmcl.errors import ShapeError
from mmcl.objectives import Identity
from mmcl.objectives.kernel.batch import Batch, reciprocal


def test_queries_that_are_the_keys_stay_one_tensor():
    rows = torch.eye(3)
    options = {"normalize": True, "gather": False}
    assert (batch := Batch.of(rows, rows, {}, 0.5, None, alike=True, **options).factors).queries is batch.keys
    assert (batch := Batch.of(rows, rows, {}, 0.5, None, **options).factors).queries is not batch.keys


def test_the_name_of_pairs_of_another_shape_is_in_the_error():
    rows = torch.eye(3)
    with pytest.raises(ShapeError, match=r"negatives .*\(2, 2\).*\(3, 3\)"):
        Batch.of(rows, rows, {"negatives": Identity(2)}, 0.5, None, normalize=True, gather=False)


def test_the_reciprocal_is_finite_for_every_mass():
    masses = torch.tensor([0.0, 1e-45, 1e-38, 4.0, 1e38])
    assert reciprocal(masses).isfinite().all() and reciprocal(masses)[[0, 1, 3]].tolist() == [0.0, 0.0, 0.25]

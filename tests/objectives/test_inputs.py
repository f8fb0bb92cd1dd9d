import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.inputs import check_features, precise, temperature_of, unit


def test_the_side_and_the_row_are_named():
    good, bad = torch.zeros(3, 2), torch.zeros(4, 2)
    bad[2, 1] = -torch.inf
    with pytest.raises(InputError, match="keys: row 2 is not finite, it holds -inf"):
        check_features(queries=good, keys=bad)
    with pytest.raises(ShapeError, match=r"queries \(3, 2\) and keys \(2,\) do not fit"):
        check_features(queries=good, keys=bad[0])


def test_large_numbers_are_no_infinity():
    check_features(features=torch.full((2, 2), 3e38))  # their sum is infinite, they are not
    check_features(features=torch.full((2, 2), 6e4, dtype=torch.float16))


def test_a_row_of_zeros_has_a_gradient_of_moderate_size():
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    unit(rows).sum().backward()
    assert torch.equal(rows.grad[0], torch.ones(2)) and bool(rows.grad.isfinite().all())


def test_half_precision_becomes_float32_and_double_stays():
    assert precise(torch.zeros(1, dtype=torch.float16))[0].dtype == torch.float32
    assert {one.dtype for one in precise(torch.zeros(1), torch.zeros(1).double())} == {torch.float64}


def test_a_temperature_for_each_row():
    assert temperature_of(torch.tensor([0.1, 0.2]), rows=2).shape == (2,)
    with pytest.raises(ShapeError, match=r"temperature has shape \(2,\), expected one number, or one for each of 3"):
        temperature_of(torch.tensor([0.1, 0.2]), rows=3)
    with pytest.raises(InputError, match=r"temperature is \[0.1\d*, 0.0\], expected > 0"):
        temperature_of(torch.tensor([0.1, 0.0]), rows=2)

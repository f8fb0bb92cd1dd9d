import numpy as np
import pytest
import torch
from waits import elsewhere, no_waits

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.kernel.inputs import (
    check_features,
    check_finite_tensors,
    checks_values,
    poisoned,
    precise,
    refuse_overflow,
    require_finite,
)


def test_the_error_names_the_side_and_the_row():
    good, bad = torch.zeros(3, 2), torch.zeros(4, 2)
    bad[2, 1] = -torch.inf
    with pytest.raises(InputError, match="keys: row 2 .*-inf"):
        check_features(queries=good, keys=bad)
    with pytest.raises(ShapeError, match=r"queries \(3, 2\) and keys \(2,\)"):
        check_features(queries=good, keys=bad[0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_large_finite_numbers_are_valid(dtype):
    largest = torch.finfo(dtype).max
    rows = torch.full((600, 2), largest, dtype=dtype)  # finite, with an infinite sum
    check_features(features=rows)
    check_features(features=rows * torch.tensor([1, -1], dtype=dtype))
    rows[500, 1] = torch.nan
    with pytest.raises(InputError, match="features: row 500 .*nan"):
        check_features(features=rows)


@pytest.mark.parametrize("given", [[[1.0, 2.0]], np.ones((2, 2)), None, "rows"])
def test_other_types_than_tensors_are_an_error(given):
    with pytest.raises(InputError, match=f"keys is a .*{type(given).__name__}|keys is a {type(given).__name__}"):
        check_features(queries=torch.zeros(2, 2), keys=given)


@pytest.mark.parametrize("dtype", [torch.bool, torch.long, torch.complex64])
def test_other_dtypes_than_floating_point_are_an_error(dtype):
    with pytest.raises(InputError, match=f"a is of type {dtype}"):
        check_features(a=torch.ones(2, 2).to(dtype))


def test_two_devices_are_an_error():
    with pytest.raises(InputError, match="a on cpu and b on meta"):
        check_features(a=torch.zeros(2, 2), b=torch.zeros(2, 2, device="meta"))


def test_rows_are_counted_along_the_first_dimension():
    logits = torch.zeros(3, 4, 5)
    check_finite_tensors(logits=logits, nothing=torch.zeros(0, 4))
    logits[1, 2, 3] = torch.inf
    with pytest.raises(InputError, match="logits: row 1 .*inf"):
        check_finite_tensors(logits=logits)


def test_a_loss_that_overflows_is_an_error():
    assert refuse_overflow(torch.tensor(1.0), "features").item() == 1
    with pytest.raises(InputError, match="features .*inf in torch.float32"):
        refuse_overflow(torch.tensor([1.0, torch.inf]), "features")


def test_precise_casts_half_precision_to_float32_and_keeps_float64():
    assert precise(torch.zeros(1, dtype=torch.float16))[0].dtype == torch.float32
    assert {one.dtype for one in precise(torch.zeros(1), torch.zeros(1).double())} == {torch.float64}


def test_values_are_checked_at_once_on_the_cpu_and_in_anomaly_detection_only():
    rows = torch.tensor([[torch.nan]])
    assert checks_values(rows, rows) and checks_values()
    with no_waits():
        assert not checks_values(rows)
        check_features(rows=rows)
        assert refuse_overflow(rows, "rows") is rows
    with elsewhere(), torch.autograd.set_detect_anomaly(True), pytest.raises(InputError, match="rows: row 0 .*nan"):
        check_features(rows=rows)
    assert torch.compile(checks_values, backend="eager", fullgraph=True)(rows) is False


def test_types_and_shapes_are_checked_on_every_device():
    with elsewhere():
        with pytest.raises(ShapeError, match=r"rows \(2,\)"):
            check_features(rows=torch.zeros(2))
        with pytest.raises(InputError, match="rows is of type torch.int64"):
            check_features(rows=torch.zeros(2, 2).long())


def test_functions_that_may_wait_require_finite_values_on_every_device():
    require_finite(rows=torch.zeros(2, 2))
    with elsewhere(), pytest.raises(InputError, match="rows: row 1 .*inf"):
        require_finite(rows=torch.tensor([[0.0], [torch.inf]]))


def test_poisoned_values_are_nan_and_get_no_gradient():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    poisoned(values, torch.tensor([True, False])).sum().backward()
    assert values.grad.tolist() == [1.0, 0.0]
    assert poisoned(values, torch.tensor(False)).isnan().all()
    assert poisoned(values.half(), torch.tensor(True)).dtype == torch.float16

"""Tests of L1 against a loop."""

import pytest
import torch
from waits import elsewhere

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import L1Loss

PREDICTIONS = torch.tensor([1.0, 3.0, -3.5], dtype=torch.float64)
TARGETS = torch.tensor([1.5, 1.0, 4.0], dtype=torch.float64)


def test_equals_the_slow_loop():
    expected = sum(abs(p - t) for p, t in zip(PREDICTIONS.tolist(), TARGETS.tolist(), strict=True)) / 3
    assert L1Loss()(PREDICTIONS, TARGETS).item() == pytest.approx(expected, rel=1e-12)
    assert torch.equal(L1Loss()(PREDICTIONS, TARGETS), torch.nn.functional.l1_loss(PREDICTIONS, TARGETS))


def test_predictions_get_the_sign_of_their_error_as_gradient():
    predictions = PREDICTIONS.clone().requires_grad_()
    L1Loss()(predictions, TARGETS).backward()
    assert torch.allclose(predictions.grad, torch.tensor([-1.0, 1.0, -1.0], dtype=torch.float64) / 3)
    assert L1Loss()(predictions[:0], TARGETS[:0]).item() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_an_error(bad):
    for name, given in (("predictions", (PREDICTIONS.clone(), TARGETS)), ("targets", (PREDICTIONS, TARGETS.clone()))):
        given[name == "targets"][1] = bad
        with pytest.raises(InputError, match=f"{name}: row 1"):
            L1Loss()(*given)
        with elsewhere():
            assert not L1Loss()(*given).isfinite()


def test_shapes_differ():
    with pytest.raises(ShapeError, match=r"\(2,\)"):
        L1Loss()(PREDICTIONS, TARGETS[:2])
    with pytest.raises(ShapeError, match=r"\(3, 1\)"):
        L1Loss()(PREDICTIONS[:, None], TARGETS)

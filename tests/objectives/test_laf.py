import math

import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.objectives.laf import (
    extractor_unlearning,
    representation_alignment,
    saturating,
    squared_errors,
    vae_loss,
)

ROWS, COLUMNS = torch.meshgrid(torch.arange(4.0).double(), torch.arange(3.0).double(), indexing="ij")
A, B = torch.sin(1 + 3 * ROWS + COLUMNS), torch.cos(2 + 3 * ROWS + 2 * COLUMNS)


def test_values_equal_those_of_the_released_code():
    near, far = squared_errors(A, B), squared_errors(2 * A, B)
    assert saturating(near).sum().item() == pytest.approx(9.005563927846, abs=1e-11)
    assert saturating(far).sum().item() == pytest.approx(9.952519981872, abs=1e-11)
    assert extractor_unlearning(near, far).item() == pytest.approx(-0.946956054026, abs=1e-11)
    assert vae_loss(A, B, A, B).item() == pytest.approx(4.347891910990, abs=1e-11)
    for temperature, expected in ((20, -0.01720322897), (5, -0.51756032601)):
        value = representation_alignment(A, B, A.flip(0), B.flip(1), temperature)
        assert value.item() == pytest.approx(expected, abs=1e-10)


def test_each_loss_equals_a_loop():
    def phi(u):
        return math.exp(u / (u + 1))

    near, far = squared_errors(A, B).tolist(), squared_errors(2 * A, B).tolist()
    for one, row, other in zip(near, A.tolist(), B.tolist(), strict=True):
        assert one == pytest.approx(sum((a - b) ** 2 for a, b in zip(row, other, strict=True)))
    value = extractor_unlearning(squared_errors(A, B), squared_errors(2 * A, B))
    assert value.item() == pytest.approx(sum(map(phi, near)) - sum(map(phi, far)))
    plain = extractor_unlearning(squared_errors(A, B), squared_errors(2 * A, B)[:2], phi=False)
    assert plain.item() == pytest.approx(sum(near) - sum(far[:2]))

    def distance(a, b):
        return 1 - sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))

    moved = [distance(a, b) for a, b in zip(A.tolist(), B.tolist(), strict=True)]
    turned = [distance(a, b) for a, b in zip(A[:2].tolist(), B[2:].tolist(), strict=True)]
    expected = sum(math.log(math.exp(m) / sum(math.exp(t / 3.0) for t in turned)) for m in moved)
    assert representation_alignment(A, B, A[:2], B[2:], 3.0).item() == pytest.approx(expected)


def test_gradients_equal_finite_differences():
    mean, log_variance = A[:, :2].clone(), B[:, :2].clone()
    for function, inputs in (
        (vae_loss, (A, B, mean, log_variance)),
        (lambda a, b: extractor_unlearning(squared_errors(a, B), squared_errors(b, A)), (2 * A, B)),
        (lambda a, b: representation_alignment(a, B, b, A), (A, B)),
    ):
        assert torch.autograd.gradcheck(function, tuple(each.clone().requires_grad_() for each in inputs))


def test_alignment_keeps_remaining_and_changes_forgotten_representations():
    remain, forget = A.clone().requires_grad_(), A.clone().requires_grad_()
    for _ in range(200):
        value = representation_alignment(remain, B, forget, B, 5.0)
        for each, gradient in zip((remain, forget), torch.autograd.grad(value, (remain, forget)), strict=True):
            each.data -= 0.1 * gradient
    assert torch.cosine_similarity(remain, B).min() > 0.99
    assert torch.cosine_similarity(forget, B).max() < 0
    before = B.clone().requires_grad_()
    representation_alignment(remain, before, forget, before).backward()
    assert before.grad is None  # the former representations get no gradient


def test_half_precision_is_computed_in_float32():
    exact = representation_alignment(A.float(), B.float(), A.flip(0).float(), B.flip(1).float())
    half = representation_alignment(A.bfloat16(), B.bfloat16(), A.flip(0).bfloat16(), B.flip(1).bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), abs=0.1)
    far = squared_errors(300 * A.half(), B.half())
    assert far.dtype == torch.float32
    assert far.isfinite().all()  # 300^2 is beyond float16


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: squared_errors(A, B[:2]), ShapeError, r"reconstruction .*\(4, 3\) and representation \(2, 3\)"),
        (lambda: vae_loss(A, B, A, B[:, :2]), ShapeError, r"mean .*\(4, 3\) and log_variance \(4, 2\)"),
        (lambda: vae_loss(A, B, A[:2], B[:2]), ShapeError, "2 codes .*4 representations"),
        (lambda: vae_loss(A, B, A, B, kl_weight=-1.0), InputError, "kl_weight is -1.0"),
        (lambda: representation_alignment(A, B, A[:0], B[:0]), ShapeError, "forget has 0 samples"),
        (lambda: representation_alignment(A, B, A, B, 0.0), InputError, "temperature"),
    ],
)
def test_invalid_arguments_are_an_error(call, error, message):
    with pytest.raises(error, match=message):
        call()


SIDES = {
    vae_loss: ("reconstruction", "representation", "mean", "log_variance"),
    squared_errors: ("reconstruction", "representation"),
    representation_alignment: ("remain", "remain_before", "forget", "forget_before"),
    extractor_unlearning: ("remain_errors", "forget_errors"),
    saturating: ("errors",),
}


@pytest.mark.parametrize("loss", SIDES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_error_names_the_side_and_the_row_that_is_not_finite(loss, bad):
    for side in SIDES[loss]:
        given = {name: torch.rand(4, 3) if "errors" not in name else torch.rand(4) for name in SIDES[loss]}
        given[side][(2,) if "errors" in side else (2, 1)] = bad
        with pytest.raises(InputError, match=f"{side}: row 2 .*{bad}"):
            loss(**given)


def test_overflow_and_negative_errors_are_an_error():
    with pytest.raises(InputError, match="representations .*inf"):
        squared_errors(torch.full((2, 2), 1e30), torch.zeros(2, 2))
    with pytest.raises(InputError, match="codes or representations"):
        vae_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2), torch.full((2, 2), 100.0))
    with pytest.raises(InputError, match="errors: row 1 is -0.5"):
        saturating(torch.tensor([1.0, -0.5]))
    for weight in ("1", None, math.nan, -1.0, True):
        with pytest.raises(InputError, match="kl_weight is"):
            vae_loss(torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, 2), kl_weight=weight)


def test_an_empty_batch_is_0_with_a_gradient_path():
    empty = torch.zeros(0, 3, requires_grad=True)
    loss = vae_loss(empty, empty, empty, empty) + squared_errors(empty, empty).sum()
    loss.backward()
    assert loss.item() == 0 and empty.grad.shape == (0, 3)
    assert representation_alignment(empty, empty, torch.eye(3), torch.eye(3)).item() == 0

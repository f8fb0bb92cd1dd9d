import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from objective_cases import CASES, REPEATED, UNSCALED, draw
from thinned import thinned
from torch.nn.functional import normalize

from mmcl.objectives import relational_distillation
from mmcl.objectives.kernel.unit import directions, rescaling, unit
from mmcl.objectives.laf import representation_alignment

#: The longest and shortest rows of each type, the latter below the smallest normal number, and ones between.
SIZES = {
    torch.float32: [1e19, 1e20, 1e30, 1e37, 1e-13, 1e-20, 1e-24, 1e-38, 1e-42],
    torch.bfloat16: [1e19, 1e20, 1e30, 1e37, 1e-13, 1e-20, 1e-24, 1e-37],
    torch.float16: [1e4, 1e-4, 1e-6],
    torch.float64: [1e150, 1e200, 1e305, 1e-150, 1e-200, 1e-307, 1e-318],
}
EXTREMES = [(dtype, size) for dtype, sizes in SIZES.items() for size in sizes]
SCALES = [
    (name, block_size, dtype, size)
    for name, block_size, (dtype, size) in product(CASES, [None, 2], EXTREMES)
    if name not in UNSCALED and not (name in REPEATED and dtype == torch.float16)
]
extreme = pytest.mark.parametrize(
    "dtype, size", EXTREMES, ids=[f"{d}-{s:g}".removeprefix("torch.") for d, s in EXTREMES]
)


def rows_of(dtype, size, *, seed=0):
    """Return rows of one scale in a dtype, and the same rows at moderate scale in float64."""
    rows = torch.randn(7, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    held = (rows / rows.abs().amax() * size).to(dtype)
    exponent = math.frexp(size)[1]
    half = exponent // 2  # in two steps, because 1 / size may be infinite
    return held, held.double() * 2.0**-half * 2.0 ** (half - exponent)


@pytest.mark.parametrize("name, block_size, dtype, size", thinned(SCALES, 4))
def test_the_loss_does_not_depend_on_the_scale_of_rows(name, block_size, dtype, size):
    batch = draw([7])
    held, moderate = rows_of(dtype, size)
    with torch.no_grad():
        moderate[3] = 0  # a zero row among others
        held[3] = 0
    for side, other in (("a", "b"), ("b", "a")):
        exact = batch | {side: moderate.clone().requires_grad_()}
        given = batch | {side: held.clone().requires_grad_()}
        if dtype != torch.float64:
            given[other] = batch[other].detach().float().requires_grad_()
        loss, right = CASES[name](given, block_size=block_size), CASES[name](exact, block_size=block_size)
        assert loss.item() == pytest.approx(right.item(), rel=1e-9 if dtype == torch.float64 else 1e-4, abs=1e-5)
        (found,) = torch.autograd.grad(loss, given[side], allow_unused=True)
        assert found is None or not bool(found.isnan().any())


@pytest.mark.parametrize("dtype, size", [case for case in EXTREMES if case[0] in (torch.float32, torch.float64)])
def test_the_gradient_is_correct_within_the_range_of_the_dtype(dtype, size):
    held, moderate = rows_of(dtype, size)
    slope, length = torch.randn(7, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64), 3.0
    held.requires_grad_(), moderate.requires_grad_()
    (unit(held, length) * slope.to(dtype)).sum().backward()
    (unit(moderate, length) * slope).sum().backward()
    exponent, largest = math.frexp(size)[1], torch.finfo(dtype).max
    right = (moderate.grad * 2.0 ** -(exponent // 2) * 2.0 ** (exponent // 2 - exponent)).clamp(-largest, largest)
    assert bool(held.grad.isfinite().all())
    torch.testing.assert_close(held.grad.double(), right, rtol=1e-4, atol=float(torch.finfo(dtype).tiny))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(exponent=st.integers(-149, 127), seed=st.integers(0, 2**20), dim=st.integers(1, 9))
def test_float32_rows_of_any_scale_get_the_requested_length(exponent, seed, dim):
    rows = torch.rand(3, dim, generator=torch.Generator().manual_seed(seed)).clamp(min=0.5) * 2.0 ** min(exponent, 126)
    rows = rows.clamp(min=torch.finfo(torch.float32).smallest_normal * 2**-23)
    for made in (unit(rows), directions(rows)):
        torch.testing.assert_close(made.norm(dim=1), torch.ones(3), rtol=1e-6, atol=0)


def test_extreme_rows_do_not_change_the_result_of_moderate_rows():
    rows = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    rows *= 10.0 ** torch.linspace(-11, 11, 50)[:, None]
    assert torch.equal(directions(rows), normalize(rows, dim=1))
    norms = rows.norm(dim=1, keepdim=True)
    assert torch.equal(unit(rows), rows * (1 / norms))
    with_others = torch.cat([rows, torch.full((1, 8), 1e30), torch.zeros(1, 8)])  # rows that are rescaled
    assert torch.equal(unit(with_others)[:50], unit(rows)) and torch.equal(
        directions(with_others)[:50], directions(rows)
    )


def test_a_zero_row_has_a_gradient_of_moderate_size():
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    unit(rows).sum().backward()
    assert torch.equal(rows.grad[0], torch.ones(2)) and bool(rows.grad.isfinite().all())


@extreme
def test_directions_of_any_dtype_and_scale(dtype, size):
    held, moderate = rows_of(dtype, size)
    made = directions(held)
    assert made.dtype == dtype
    torch.testing.assert_close(made.double(), normalize(moderate, dim=1), rtol=0, atol=2 * torch.finfo(dtype).eps)


@extreme
def test_relational_and_alignment_losses_do_not_depend_on_scale(dtype, size):
    held, moderate = rows_of(dtype, size)
    other = rows_of(torch.float64, 1.0, seed=5)[1]
    same = dict(rel=1e-3, abs=1e-4) if dtype != torch.float64 else dict(rel=1e-9)
    teacher = other if dtype == torch.float64 else other.float()
    assert relational_distillation(held, teacher).item() == pytest.approx(
        relational_distillation(moderate, other).item(), **same
    )
    assert representation_alignment(held, teacher, held.flip(0), teacher).item() == pytest.approx(
        representation_alignment(moderate, other, moderate.flip(0), other).item(), **same
    )


def test_rescaling_is_exact():
    for dtype in (torch.float32, torch.float64):
        lengths = torch.tensor([0.0, 1e-45, 1e-16, 1.0, 1e16, torch.inf], dtype=dtype)
        mantissas, _ = rescaling(lengths).frexp()
        assert torch.equal(mantissas, torch.full_like(mantissas, 0.5))


@pytest.mark.filterwarnings("ignore")
def test_compiled_unit_is_as_exact():
    held, _ = rows_of(torch.float32, 1e30)
    held[0] *= 1e-40
    torch.compiler.reset()
    compiled = torch.compile(unit, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(held), unit(held))

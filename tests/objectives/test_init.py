"""Tests that hold for every objective."""

import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from objective_cases import CASES, CONSTANT_B, CONSTANTS, DIM, FIXED_DIM, INITIAL_TEMPERATURE, ROW_BLOCKS, draw
from thinned import thinned

from mmcl.errors import InputError, LabelError, MMCLError, ShapeError, TrainingError
from mmcl.objectives import LearnableTemperature

every = pytest.mark.parametrize("name", CASES)


def value_and_gradients(name, batch, **options):
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    sides = [batch[key] for key in CASES[name].takes.split() if key in ("a", "b")]
    loss = CASES[name](batch, temperature=temperature, **options)
    # NSPT's teacher has no gradient.
    found = torch.autograd.grad(loss, [temperature, *sides], allow_unused=True)
    return loss, [gradient for gradient in found if gradient is not None]


def assert_same(one, other, tolerance=1e-10):
    assert torch.allclose(one[0], other[0], rtol=tolerance, atol=tolerance)
    assert len(one[1]) == len(other[1])
    for first, second in zip(one[1], other[1], strict=True):
        assert torch.allclose(first, second, rtol=tolerance, atol=tolerance)


@every
@pytest.mark.parametrize("block_size", [1, 2, 3, 5, 16])
def test_dense_and_blockwise_give_the_same_value_and_gradients(name, block_size):
    batch = draw([11])
    assert_same(value_and_gradients(name, batch, block_size=block_size), value_and_gradients(name, batch))


@pytest.mark.parametrize("name", sorted(set(CASES) - CONSTANTS - INITIAL_TEMPERATURE))
def test_gradients_equal_finite_differences(name):
    def loss(a, b, temperature):
        return CASES[name](draw([5], seed=1) | {"a": a, "b": b}, temperature=temperature)

    batch = draw([5], seed=1)
    temperature = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    if name in CONSTANT_B:
        batch["b"] = batch["b"].detach()
    assert torch.autograd.gradcheck(loss, (batch["a"], batch["b"], temperature))


@every
def test_bfloat16_agrees_with_float32(name):
    batch = draw([64], dtype=torch.float32)
    half = batch | {key: batch[key].bfloat16() for key in ("a", "b")}
    for block_size in (None, 16):
        exact, low = CASES[name](batch, block_size=block_size), CASES[name](half, block_size=block_size)
        assert low.dtype == torch.float32
        assert low.item() == pytest.approx(exact.item(), rel=2e-2, abs=2e-2)


@every
@pytest.mark.parametrize("block_size", [None, 4])
def test_autocast_does_not_change_the_loss(name, block_size):
    batch = draw([16], dtype=torch.float32)
    exact = CASES[name](batch, block_size=block_size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = CASES[name](batch, block_size=block_size)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=1e-6)
    expected = torch.autograd.grad(exact, batch["a"])[0]
    assert torch.allclose(batch["a"].grad, expected, atol=1e-6)


@pytest.mark.parametrize("name", sorted(set(CASES) - INITIAL_TEMPERATURE))
def test_a_learnable_temperature_gets_a_gradient(name):
    temperature = LearnableTemperature(0.1)
    loss = CASES[name](draw([8]), temperature=temperature)
    assert loss.item() == pytest.approx(CASES[name](draw([8]), temperature=0.1).item(), rel=1e-5)
    loss.backward()
    assert temperature.log_scale.grad.item() != 0


@every
@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 9),
    seed=st.integers(0, 2**20),
    kind=st.sampled_from(["plain", "one label", "all labels", "no rehearsal", "duplicates", "zeros", "large", "small"]),
    block_size=st.sampled_from([None, 1, 2, 4]),
)
def test_degenerate_batches_have_equal_finite_losses_and_gradients_on_both_paths(name, rows, seed, kind, block_size):
    batch = draw([rows], seed=seed)
    with torch.no_grad():
        if kind == "one label":
            batch["labels"].zero_()
        elif kind == "all labels":
            batch["labels"] = torch.arange(rows)
        elif kind == "no rehearsal":
            batch["is_rehearsal"].zero_()
        elif kind == "duplicates":
            batch["a"][:] = batch["a"][0]
            batch["b"][:] = batch["b"][0]
        elif kind == "zeros":
            batch["a"][rows // 2] = 0
            batch["b"][rows // 2] = 0
        elif kind in ("large", "small"):
            factor = 1e4 if kind == "large" else 1e-4
            batch["a"] *= factor
            batch["b"] *= factor
    found = value_and_gradients(name, batch, block_size=block_size)
    assert math.isfinite(found[0].item())
    assert all(bool(gradient.isfinite().all()) for gradient in found[1])
    assert_same(found, value_and_gradients(name, batch), tolerance=1e-9 if kind != "small" else 1e-6)


_COMPILED = ("clip", "siglip")  # one with the kernel and one without; the others are slow


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in _COMPILED else [pytest.mark.slow]) for each in CASES]
)
@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.filterwarnings("ignore")  # of torch's compiler
def test_torch_compile(name, block_size):
    batch = draw([9])
    arguments = [batch[key] for key in CASES[name].takes.split()]
    torch.compiler.reset()
    compiled = torch.compile(CASES[name].make(block_size=block_size), backend="aot_eager", fullgraph=True)
    loss, expected = compiled(*arguments), CASES[name](batch, block_size=block_size)
    assert torch.allclose(loss, expected, rtol=1e-12)
    one, other = (torch.autograd.grad(value, batch["a"])[0] for value in (loss, expected))
    assert torch.allclose(one, other, atol=1e-12)


@every
def test_the_error_names_a_row_that_is_not_finite(name):
    batch = draw([6])
    with torch.no_grad():
        batch["a"][4, 2] = float("nan")
        batch["is_rehearsal"][:] = True
    with pytest.raises(InputError, match=r"row 4 is not finite, it holds nan"):
        CASES[name](batch)


@every
def test_invalid_arguments_are_an_error(name):
    batch = draw([4])
    other = {key: value[:3] for key, value in batch.items()}
    second = CASES[name].takes.split()[1]
    with pytest.raises((ShapeError, LabelError)):
        CASES[name](batch | {second: other[second]})
    with pytest.raises(ShapeError):
        CASES[name](batch | {"a": batch["a"][0]})
    with pytest.raises(InputError, match="expected floating point"):
        CASES[name](batch | {"a": torch.ones(4, DIM, dtype=torch.long), "b": torch.ones(4, DIM, dtype=torch.long)})
    for temperature in (0.0, -1.0, torch.tensor(0.0), float("nan")):
        with pytest.raises(InputError, match="temperature is"):
            CASES[name](batch, temperature=temperature)
    with pytest.raises(ShapeError, match="temperature has shape"):
        CASES[name](batch, temperature=torch.ones(7))
    with pytest.raises(MMCLError, match="block_size is 0"):
        CASES[name](batch, block_size=0)


@every
def test_a_second_derivative_is_correct_if_dense_and_an_error_if_blockwise(name):
    batch = draw([4])
    if name not in CONSTANTS | {"soft_clip"}:  # torch's attention has no second derivative
        sides = [key for key in ("a", "b") if key in CASES[name].takes.split()]
        if name in CONSTANT_B:
            sides, batch["b"] = ["a"], batch["b"].detach()

        def loss(*given):
            return CASES[name](batch | dict(zip(sides, given, strict=True)), temperature=0.5)

        assert torch.autograd.gradgradcheck(loss, [batch[key] for key in sides])
    if name not in ROW_BLOCKS:
        with pytest.raises(TrainingError, match="create_graph=True"):
            torch.autograd.grad(CASES[name](batch, block_size=2), batch["a"], create_graph=True)


TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize(
    ("name", "one", "other", "block_size"), thinned(itertools.product(CASES, TYPES, TYPES, [None, 1, 3]), 5)
)
def test_sides_may_have_different_dtypes(name, one, other, block_size):
    batch = draw([7])
    given = batch | {"a": batch["a"].detach().to(one).requires_grad_(), "b": batch["b"].detach().to(other)}
    loss = CASES[name](given, block_size=block_size)
    exact = CASES[name](given | {"a": given["a"].double(), "b": given["b"].double()})
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-5)
    (gradient,) = torch.autograd.grad(loss, given["a"])
    assert gradient.dtype == one and bool(gradient.isfinite().all())


@pytest.mark.parametrize(
    ("name", "block_size", "dim", "rows"),
    thinned(itertools.product([name for name in CASES if name not in FIXED_DIM], [None, 1, 2], [0, 1], [0, 1, 2]), 4),
)
def test_tiny_batches_have_a_finite_loss_and_a_gradient_path(name, rows, dim, block_size):
    batch = draw([rows])
    batch |= {side: batch[side].detach()[:, :dim].requires_grad_() for side in ("a", "b")}
    loss = CASES[name](batch, block_size=block_size)
    (gradient,) = torch.autograd.grad(loss, batch["a"])
    assert math.isfinite(loss.item()) and bool(gradient.isfinite().all())


@every
@pytest.mark.parametrize("block_size", [0, -1, 2.5, 2.0, True, "2", [2]])
def test_an_invalid_block_size_is_an_error(name, block_size):
    with pytest.raises(InputError, match="block_size is "):
        CASES[name](draw([4]), block_size=block_size)


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_both_sides_are_validated(name, bad):
    for side in set(CASES[name].takes.split()) & {"a", "b"}:
        batch = draw([6], dtype=torch.float32)
        with torch.no_grad():
            batch[side][5, 0] = bad
            batch["is_rehearsal"][:] = True
        with pytest.raises(InputError, match=f": row 5 is not finite, it holds {bad}"):
            CASES[name](batch)

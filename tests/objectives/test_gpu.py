"""Objectives on a GPU: no wait for the device, capture by CUDA graphs, and the precision of values and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest
import torch
from every_objective import LOSSES, Batch, draw, value_and_gradients
from torch import Tensor

from mmcl.errors import InputError
from mmcl.objectives import LearnableTemperature

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore"),  # of torch's compiler, and of synchronization being a beta feature
]

#: Losses of the kernel, which are tested with many rows too.
_LARGE = {name for name, loss in LOSSES.items() if "block_size" in loss.options}
every = pytest.mark.parametrize("name", LOSSES)
exact = pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if not loss.random])


@contextmanager
def waits_are_errors() -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def on_gpu(batch: Batch) -> Batch:
    return {name: value.detach().cuda().requires_grad_(value.requires_grad) for name, value in batch.items()}


def options_of(name: str) -> list[dict[str, object]]:
    """Return options of a loss: automatic and small tiles, a tensor and a learnable temperature."""
    allowed = LOSSES[name].options
    tiles = [{}, {"block_size": 5}] if "block_size" in allowed else [{}]
    tensors = [{"temperature": torch.full((), 0.2, device="cuda")}, {"temperature": LearnableTemperature().cuda()}]
    return [*tiles, *(tensors if "temperature" in allowed else [])]


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_forward_and_backward_do_not_wait(name, dtype):
    batch = on_gpu(draw(rows=37, dtype=dtype))
    for options in options_of(name):
        loss = LOSSES[name].made(batch, **options)
        loss(*(batch[each] for each in LOSSES[name].takes)).backward()  # may compile kernels, and wait for that
        with waits_are_errors():
            found = loss(*(batch[each] for each in LOSSES[name].takes))
            found.backward()
        assert found.isfinite()


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_graph_gives_the_same_values_for_new_inputs(name, dtype):
    for options in options_of(name):
        batch, other = (on_gpu(draw(rows=37, seed=seed, dtype=dtype)) for seed in (0, 1))
        loss = LOSSES[name].made(batch, **options)  # each use of a copy begins with the same state
        captured = deepcopy(loss)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                value_and_gradients(LOSSES[name], batch, deepcopy(loss))
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            found = value_and_gradients(LOSSES[name], batch, captured)
        with torch.no_grad():
            for entry, value in batch.items():
                value.copy_(other[entry])
        graph.replay()
        torch.cuda.synchronize()
        for one, expected in zip(found, value_and_gradients(LOSSES[name], other, deepcopy(loss)), strict=True):
            assert one.isfinite().all() if LOSSES[name].random else torch.allclose(one, expected, 1e-3, 1e-5)


def error(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to that of the expected values."""
    difference = (found.detach().double().cpu() - expected.detach()).norm()
    return float(difference / expected.detach().norm().clamp(min=1e-30))


# Gradients of a tensor that is used twice are rounded twice in half precision.
_TWICE = {"MVDHELLoss", "MMLoss", "MMLoss of anchors", "NSPTLoss", "NSPTLoss proper", "SoftClipLoss"}
# The denominator holds each query itself, so that large terms of the gradient cancel.
_CANCELS = {"NSPTLoss"}


def compare(name: str, rows: int, dim: int, dtype: torch.dtype, of_value: float, of_gradient: float) -> None:
    """Compare with the CPU in float64, with automatic tiles and small ones."""
    batch = draw(rows=rows, dim=dim, dtype=dtype)
    exactly = {
        each: (value.detach().double() if value.is_floating_point() else value).requires_grad_(value.requires_grad)
        for each, value in batch.items()
    }
    for options in [{}, {"block_size": 64}] if name in _LARGE else [{}]:
        expected = value_and_gradients(LOSSES[name], exactly, **options)
        found = value_and_gradients(LOSSES[name], on_gpu(batch), **options)
        scale = max(1.0, expected[0].detach().abs().item())
        assert abs(found[0].item() - expected[0].item()) <= of_value * scale
        for one, other in zip(found[1:], expected[1:], strict=True):
            # A gradient that cancels, such as that of a single row, has only rounding errors.
            cancelled = max(one.abs().max().item(), other.abs().max().item()) <= 1e-4 * scale
            assert cancelled or error(one, other) <= of_gradient


@exact
@pytest.mark.parametrize(("rows", "dim"), [(1, 1), (3, 2), (65, 33)])
@pytest.mark.parametrize(
    ("dtype", "of_value", "of_gradient"), [(torch.float32, 2e-6, 1e-5), (torch.bfloat16, 1e-5, 5e-3)]
)
def test_odd_shapes_are_precise(name, rows, dim, dtype, of_value, of_gradient):
    compare(name, rows, dim, dtype, of_value, of_gradient)


@pytest.mark.parametrize("name", sorted(name for name in _LARGE if not LOSSES[name].random))
@pytest.mark.parametrize(("rows", "dim"), [(257, 130), (1000, 512)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_and_gradients_are_precise(name, rows, dim, dtype):
    if dtype == torch.float32:
        compare(name, rows, dim, dtype, 1e-6, 5e-6 if name in _CANCELS else 1e-6)
    else:
        compare(name, rows, dim, dtype, 1e-5, 3e-3 if name in _TWICE else 2e-3)


def test_a_value_that_is_not_finite_makes_the_loss_nan_and_anomaly_detection_names_the_row():
    batch = on_gpu(draw())
    with torch.no_grad():
        batch["a"][3, 1] = torch.nan
    with waits_are_errors():
        loss = LOSSES["CLIPLoss"](batch)
    assert loss.isnan()
    with torch.autograd.set_detect_anomaly(True), pytest.raises(InputError, match="row 3 .*nan"):
        LOSSES["CLIPLoss"](batch)


@pytest.mark.parametrize("name", ["M3CoLoss from mixed", "weighted_info_nce of Sparse"])
def test_indices_outside_the_batch_make_the_loss_nan_and_leave_the_device_usable(name):
    batch = on_gpu(draw())
    batch["permutation"][2] = 10**9
    batch["listed"][0, 2] = -(10**9)
    assert LOSSES[name](batch).isnan()
    torch.cuda.synchronize()
    assert LOSSES[name](on_gpu(draw())).isfinite()


@pytest.mark.slow
@exact
def test_torch_compile_by_inductor(name):
    batch = on_gpu(draw(rows=37, dtype=torch.float32))
    torch.compiler.reset()
    compiled = torch.compile(LOSSES[name].made(batch), fullgraph=True)
    for one, other in zip(
        value_and_gradients(LOSSES[name], batch, compiled), value_and_gradients(LOSSES[name], batch), strict=True
    ):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)

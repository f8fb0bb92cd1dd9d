"""Objectives do not wait for a device: no value is read, and ``torch.compile`` captures each of them in one graph."""

from __future__ import annotations

import warnings

import pytest
import torch
from every_objective import LOSSES, PAIRS, draw, value_and_gradients
from torch._subclasses.fake_tensor import FakeTensorMode
from waits import no_copies, no_waits

import mmcl.objectives as objectives
from mmcl.objectives import LearnableTemperature
from mmcl.objectives.kernel.base import Pairs

every = pytest.mark.parametrize("name", LOSSES)
blockwise = pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if "block_size" in loss.options])


def assert_same(found, expected, tolerance=1e-10):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance)


def test_the_list_of_losses_is_complete():
    tested = {name.split()[0] for name in LOSSES} | {name.split()[0] for name in PAIRS}
    tested |= {"log_denominators", "two_way_info_nce"}  # by way of functions that return one number
    interfaces = {
        "Objective",
        "LearnableTemperature",
        "Pairs",
        "Queue",
        "ClusteredQueue",
        "SampleNumbers",
        "ClassPairGate",
        "ObjectiveSum",
    }
    assert set(objectives.__all__) <= tested | interfaces
    for name in PAIRS:
        assert issubclass(getattr(objectives, name.split()[0]), Pairs)


def with_temperatures(loss):
    """Yield the options of a number, a tensor and a learnable temperature."""
    yield {}
    if "temperature" in loss.options:
        yield {"temperature": torch.full((), 0.2)}
        yield {"temperature": LearnableTemperature()}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in LOSSES
        if name not in ("M3CoLoss", "SupReMixLoss")  # torch draws from a Beta distribution only where a device is
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_forward_pass_runs_on_tensors_without_values(name, dtype):
    batch = draw(dtype=dtype)
    with FakeTensorMode(allow_non_fake_inputs=False), warnings.catch_warnings(), torch.device("cuda"):
        warnings.simplefilter("ignore")  # autocast warns where there is no CUDA
        given = {key: torch.empty(value.shape, dtype=value.dtype) for key, value in batch.items()}
        for options in with_temperatures(LOSSES[name]):
            value = LOSSES[name](given, **options)
            assert value.device.type == "cuda" and value.dim() == 0


@every
def test_no_value_is_read_and_the_result_is_the_same(name):
    with no_waits():
        found = value_and_gradients(LOSSES[name], draw())
        for options in with_temperatures(LOSSES[name]):
            value_and_gradients(LOSSES[name], draw(dtype=torch.bfloat16), **options)
    if not LOSSES[name].random:
        assert_same(found, value_and_gradients(LOSSES[name], draw()))


@blockwise
def test_no_value_is_read_blockwise(name):
    with no_waits():
        found = value_and_gradients(LOSSES[name], draw(), block_size=3)
    if not LOSSES[name].random:
        assert_same(found, value_and_gradients(LOSSES[name], draw(), block_size=3))


# Batch normalization copies the number 0 when it is made.
@pytest.mark.parametrize("name", [name for name in LOSSES if not name.startswith(("SimLAPLoss", "BECLRLoss"))])
def test_no_python_number_is_copied_to_the_device(name):
    temperatures = list(with_temperatures(LOSSES[name]))
    with no_copies():
        value_and_gradients(LOSSES[name], draw())
        for options in temperatures:
            value_and_gradients(LOSSES[name], draw(), **options)


quiet = pytest.mark.filterwarnings("ignore")  # of torch's compiler

_FAST = ("MMLoss of anchors", "HardContrastiveLoss", "weighted_info_nce of Sparse")  # others take minutes together


@quiet
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=[] if each in _FAST else [pytest.mark.slow]) for each in LOSSES]
)
def test_torch_compile_captures_one_graph(name):
    loss = LOSSES[name]
    torch.compiler.reset()
    compiled = torch.compile(loss.make(), backend="aot_eager", fullgraph=True)
    found = value_and_gradients(loss, draw(), compiled)
    assert not loss.random or found[0].isfinite()
    if not loss.random:
        assert_same(found, value_and_gradients(loss, draw()))


@quiet
@pytest.mark.parametrize("name", ["CLIPLoss", pytest.param("NSPTLoss", marks=pytest.mark.slow)])
def test_torch_compile_captures_a_learnable_temperature(name):
    loss = LOSSES[name]
    torch.compiler.reset()
    compiled = torch.compile(loss.make(temperature=LearnableTemperature(0.1)), backend="aot_eager", fullgraph=True)
    assert_same(value_and_gradients(loss, draw(), compiled), value_and_gradients(loss, draw(), temperature=0.1), 1e-6)

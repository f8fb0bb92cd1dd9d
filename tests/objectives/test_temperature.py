import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from objective_cases import CASES, draw
from thinned import thinned

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import CLIPLoss, DCLLoss, HardContrastiveLoss, LearnableTemperature, M3CoLoss, SigLIPLoss
from mmcl.objectives.temperature import positive, temperature_of, weight_of


def test_training_lowers_the_temperature_to_its_minimum():
    features = torch.nn.functional.normalize(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    temperature = LearnableTemperature(0.07)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=5.0)
    losses = []
    for _ in range(200):  # equal sides: lower temperatures have a lower loss
        optimizer.zero_grad()
        loss = CLIPLoss(temperature)(features, features)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert 0.0099 < temperature().item() < 0.07


def test_a_parameter_beyond_the_bound_returns():
    temperature = LearnableTemperature(0.07)
    with torch.no_grad():
        temperature.log_scale.fill_(9.0)
    assert temperature().item() == pytest.approx(0.01)
    temperature().backward()
    assert temperature.log_scale.grad.item() == pytest.approx(-0.01)  # a clamped result would have gradient 0


def test_it_starts_at_its_initial_value():
    assert LearnableTemperature(0.5).log_scale.item() == pytest.approx(math.log(2))
    for initial, minimum in ((0.0, 0.01), (2.0, 0.01), (0.005, 0.01), (0.5, 0.0)):
        with pytest.raises(InputError, match="minimum is .*initial is"):
            LearnableTemperature(initial, minimum)


NO_NUMBERS = ["0.1", None, True, 1j, [0.1], {}, torch.tensor(True), torch.tensor(1j), torch.ones(())[None]]
OUTSIDE = [0.0, -1.0, math.nan, math.inf, 1e-45, 5e-324, 1e-19, 1e19, 10**400, torch.tensor(1e-45), torch.tensor(0)]


@pytest.mark.parametrize(("name", "temperature"), thinned(product(CASES, [*NO_NUMBERS, *OUTSIDE]), 3))
def test_an_invalid_temperature_is_an_error(name, temperature):
    with pytest.raises((InputError, ShapeError), match="temperature"):
        CASES[name](draw([4], dtype=torch.float32), temperature=temperature)


@pytest.mark.parametrize("temperature", [1e-18, 1e-10, 1e10, 1e18])
@pytest.mark.parametrize("name", CASES)
def test_at_the_ends_of_the_range_loss_and_gradient_are_finite(name, temperature):
    batch = draw([9], dtype=torch.float32)
    for block_size in (None, 2):
        loss = CASES[name](batch, temperature=temperature, block_size=block_size)
        assert bool(loss.isfinite()) and bool(torch.autograd.grad(loss, batch["a"])[0].isfinite().all())


@pytest.mark.parametrize("name", CASES)
def test_every_form_of_a_number_gives_the_same_loss(name):
    batch = draw([6])
    expected = CASES[name](batch, temperature=0.5)
    for form in (np.float64(0.5), np.float32(0.5), Fraction(1, 2), torch.tensor(0.5), torch.tensor(0.5).bfloat16()):
        assert torch.allclose(CASES[name](batch, temperature=form), expected, rtol=1e-12)
    whole = CASES[name](batch, temperature=2.0)
    for form in (2, np.int64(2), torch.tensor(2)):
        assert torch.allclose(CASES[name](batch, temperature=form), whole, rtol=1e-12)


def test_half_precision_temperatures_are_cast_before_the_reciprocal():
    small = torch.tensor(1e-6, dtype=torch.float16)  # 1 / small overflows float16
    assert temperature_of(small).dtype == torch.float32 and bool((1 / temperature_of(small)).isfinite())
    with pytest.raises(InputError, match="temperature is 0"):
        temperature_of(torch.tensor(1e-9, dtype=torch.float16))


def test_one_temperature_per_row():
    assert temperature_of(torch.tensor([0.1, 0.2]), rows=2).shape == (2,)
    with pytest.raises(ShapeError, match=r"temperature has shape \(2,\).* 3 "):
        temperature_of(torch.tensor([0.1, 0.2]), rows=3)
    for bad in (0.0, -1.0, math.nan, math.inf, 1e-40):
        with pytest.raises(InputError, match="temperature of query 1 is "):
            temperature_of(torch.tensor([0.1, bad]), rows=2)


@pytest.mark.parametrize("initial, minimum", [("0.1", 0.01), (None, 0.01), (0.5, True), (math.nan, 0.01), (0.1, 1e-45)])
def test_invalid_bounds_are_an_error(initial, minimum):
    with pytest.raises(InputError, match="minimum is .*initial is"):
        LearnableTemperature(initial, minimum)


def test_a_temperature_of_nan_is_an_error():
    temperature = LearnableTemperature()
    with torch.no_grad():
        temperature.log_scale.fill_(math.nan)
    with pytest.raises(InputError, match="temperature is nan"):
        CLIPLoss(temperature)(torch.eye(2), torch.eye(2))


def test_other_scalar_arguments_are_validated():
    assert positive("scale", 2) == 2.0
    assert weight_of("alpha", 0) == 0 and weight_of("beta", torch.tensor(1.0)) == 1
    for value in ("1", None, True, math.nan, math.inf, -1.0, torch.ones(2)):
        with pytest.raises(InputError, match="beta is"):
            weight_of("beta", value)
        with pytest.raises(InputError, match="sigma is"):
            DCLLoss(sigma=value) if value is not None else positive("sigma", value)
    for make in (lambda: HardContrastiveLoss(share="1"), lambda: M3CoLoss(alpha=None), lambda: M3CoLoss(mix_share="a")):
        with pytest.raises(InputError, match="(share|alpha) is"):
            make()
    for bias in ("a", None, True, math.inf, math.nan, 1e30, torch.ones(2)):
        with pytest.raises(InputError, match="bias is"):
            SigLIPLoss(bias=bias)(torch.eye(2), torch.eye(2))

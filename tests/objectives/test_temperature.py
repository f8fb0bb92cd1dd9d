import math

import pytest
import torch

from mmcl.errors import InputError
from mmcl.objectives import CLIPLoss, LearnableTemperature


def test_it_learns_to_fit_and_stays_above_its_minimum():
    features = torch.nn.functional.normalize(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    temperature = LearnableTemperature(0.07)
    optimizer = torch.optim.SGD(temperature.parameters(), lr=5.0)
    losses = []
    for _ in range(200):  # the sides agree: the lower the temperature, the better
        optimizer.zero_grad()
        loss = CLIPLoss(temperature)(features, features)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert 0.0099 < temperature().item() < 0.07


def test_past_the_bound_it_comes_back():
    temperature = LearnableTemperature(0.07)
    with torch.no_grad():
        temperature.log_scale.fill_(9.0)
    assert temperature().item() == pytest.approx(0.01)
    temperature().backward()
    assert temperature.log_scale.grad.item() == pytest.approx(-0.01)  # clamping the result would have left 0


def test_it_starts_where_it_is_told():
    assert LearnableTemperature(0.5).log_scale.item() == pytest.approx(math.log(2))
    for initial, minimum in ((0.0, 0.01), (2.0, 0.01), (0.005, 0.01), (0.5, 0.0)):
        with pytest.raises(InputError, match="expected 0 < minimum <= initial <= 1"):
            LearnableTemperature(initial, minimum)

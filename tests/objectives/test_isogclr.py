"""Tests of iSogCLR: its steps against a loop, DCL as its special case, and its state."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives import DCLLoss, ISogCLRLoss, LearnableTemperature

SETTINGS = {"gamma": 0.7, "rho": 0.4, "step": 0.05, "beta": 0.8, "lowest": 0.02, "highest": 0.9}


def draw(batch=4, seed=0):
    return torch.randn(2, batch, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Slow:
    """The steps of the paper in plain loops, with u, v and tau by sample in dictionaries, for each side."""

    def __init__(self, bimodal=False, history="differences", count_positive=False, clip=None):
        self.bimodal, self.history, self.count_positive, self.clip = bimodal, history, count_positive, clip
        self.u, self.v, self.tau = ({}, {}), ({}, {}), ({}, {})

    def anchors(self, a, b):
        """Yield the state's side, the sample, the positive's similarity and the negatives' similarities."""
        sides = normalize(a, dim=1), normalize(b, dim=1)
        for view, (one, other) in enumerate((sides, sides[::-1])):
            for i in range(len(a)):
                others = [j for j in range(len(a)) if j != i or self.count_positive]
                negatives = [one[i] @ other[j] for j in others]
                if not self.bimodal:
                    negatives += [one[i] @ one[j] for j in others]
                yield view if self.bimodal else 0, i, one[i] @ other[i], negatives

    def __call__(self, a, b, rows):
        """Return value and surrogate, whose gradient is that of the paper."""
        s, value, surrogate, found = SETTINGS, 0.0, 0.0, {}
        for side, i, own, negatives in self.anchors(a, b):
            row = int(rows[i])
            tau = self.tau[side].get(row, 0.3)
            h = [each - own if self.history == "differences" else each for each in negatives]
            weights = [math.exp(each.item() / tau) for each in h]
            count = (len(a) - 1) * (1 if self.bimodal else 2)
            g = sum(weights) / count
            u = (1 - s["gamma"]) * self.u[side][row] + s["gamma"] * g if row in self.u[side] else g
            slope = math.log(u) + s["rho"]
            slope -= sum(w * each.item() / tau for w, each in zip(weights, h, strict=True)) / count / u
            value += tau * (math.log(u) + s["rho"]) / (2 * len(a))
            term = sum(w / u * each for w, each in zip(weights, h, strict=True)) / count
            if self.history == "similarities":
                value, term = value - own.item() / (2 * len(a)), term - own
            surrogate = surrogate + term / (2 * len(a))
            found.setdefault((side, row), []).append((u, slope))
        for (side, row), each in found.items():
            slope = sum(slope for _, slope in each) / len(each)
            slope = slope if self.clip is None else max(-self.clip, min(self.clip, slope))
            self.u[side][row] = sum(u for u, _ in each) / len(each)
            self.v[side][row] = (1 - s["beta"]) * self.v[side].get(row, 0.0) + s["beta"] * slope
            tau = self.tau[side].get(row, 0.3) - s["step"] * self.v[side][row]
            self.tau[side][row] = max(s["lowest"], min(s["highest"], tau))
        return value, surrogate


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"clip": 0.5},
        {"history": "similarities"},
        {"bimodal": True},
        {"bimodal": True, "count_positive": True},
    ],
)
def test_several_steps_equal_the_slow_loop(kind, block_size):
    objective = ISogCLRLoss(0.3, samples=9, block_size=block_size, **SETTINGS, **kind).double()
    slow = Slow(**kind)
    objective.numbers.temperature.fill_(0.3)  # 0.3 in float32 has other digits
    if objective.other_numbers is not None:
        objective.other_numbers.temperature.fill_(0.3)
    for step, rows in enumerate(([1, 3, 5, 7], [3, 1, 8, 0], [0, 1, 2, 3])):
        a, b = (each.requires_grad_() for each in draw(seed=step))
        loss = objective(a, b, torch.tensor(rows))
        value, surrogate = slow(a, b, rows)
        assert loss.item() == pytest.approx(value, rel=1e-10, abs=1e-12)
        for one, other in zip(torch.autograd.grad(loss, [a, b]), torch.autograd.grad(surrogate, [a, b]), strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
    for numbers, side in ((objective.numbers, 0), (objective.other_numbers, 1)):
        for row, tau in slow.tau[side].items():
            assert numbers.temperature[row].item() == pytest.approx(tau, rel=1e-10)
            assert numbers.log_average[row].exp().item() == pytest.approx(slow.u[side][row], rel=1e-10)
            assert numbers.momentum[row].item() == pytest.approx(slow.v[side][row], rel=1e-10)


def test_without_history_and_steps_it_is_dcl_up_to_constants():
    (a, b), rows = draw(), torch.arange(4)
    for history in ("differences", "similarities"):
        loss = ISogCLRLoss(0.25, samples=4, gamma=1.0, step=0.0, rho=0.3, history=history)(a, b, rows)
        expected = 0.25 * (DCLLoss(0.25)(a, b) - math.log(6) + 0.3)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("bimodal", [False, True])
def test_gradients_equal_finite_differences_without_history(bimodal):
    def loss(a, b):
        return ISogCLRLoss(0.25, samples=4, gamma=1.0, step=0.0, bimodal=bimodal)(a, b, torch.arange(4))

    assert torch.autograd.gradcheck(loss, [each.requires_grad_() for each in draw()])


def test_a_resumed_state_gives_the_same_losses():
    one, other = (ISogCLRLoss(samples=6) for _ in range(2))
    rows = [torch.tensor([0, 2, 4, 5]), torch.tensor([1, 2, 3, 5])]
    for step in range(3):
        one(*draw(seed=step).float(), rows[step % 2])
    other.load_state_dict(one.state_dict())
    for step in range(3, 6):
        batch = draw(seed=step).float()
        assert one(*batch, rows[step % 2]).item() == other(*batch, rows[step % 2]).item()
    assert torch.equal(one.numbers.temperature, other.numbers.temperature)


def test_samples_with_many_similar_negatives_get_larger_temperatures():
    """Frequent classes have similar negatives, whose expected h is large."""
    directions = torch.eye(6, dtype=torch.float64)[[0, 0, 0, 0, 1, 2]] + 0.05 * torch.randn(6, 6, dtype=torch.float64)
    objective = ISogCLRLoss(0.2, samples=6, rho=0.3)
    for _ in range(100):
        objective(directions, directions, torch.arange(6))
    found = objective.numbers.temperature
    assert found[:4].min() > found[4:].max()


def test_evaluation_does_not_change_the_state():
    objective = ISogCLRLoss(samples=4)
    objective.eval()(*draw(), torch.arange(4))
    assert objective.numbers.log_average.isneginf().all()


def test_a_single_sample_counts_0():
    assert ISogCLRLoss(samples=4)(*draw(1), torch.tensor([2])).item() == 0


def test_bad_input():
    a, b = draw()
    with pytest.raises(InputError, match="9, expected 0 to 3"):
        ISogCLRLoss(samples=4)(a, b, torch.tensor([0, 1, 2, 9]))
    with pytest.raises(ShapeError, match=r"\(3,\)"):
        ISogCLRLoss(samples=4)(a, b, torch.arange(3))
    with pytest.raises(ConfigError, match="'rows'"):
        ISogCLRLoss(samples=4).of({"a": a, "b": b})
    with pytest.raises(ConfigError, match="initial value"):
        ISogCLRLoss(LearnableTemperature())
    for settings in ({"gamma": 0.0}, {"beta": 2}, {"rho": -1}, {"lowest": 0.5, "highest": 0.1}, {"samples": 0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            ISogCLRLoss(**settings)
    for settings in ({"history": "none"}, {"count_positive": True}):
        with pytest.raises(ConfigError, match=next(iter(settings))):
            ISogCLRLoss(**settings)

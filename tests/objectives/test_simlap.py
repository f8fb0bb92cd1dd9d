"""Tests of SimLAP and its gate against a loop and InfoNCE."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize
from waits import elsewhere

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives import ClassPairGate, SimLAPLoss

LABELS, PAIRS = torch.tensor([0, 1, 0, 2, 1, 3]), torch.tensor([1, 0, 0, 3, 2, 4])  # no sample of class 4


def draw(batch=6, seed=0):
    return torch.randn(2, batch, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(**settings):
    return SimLAPLoss(**{"temperature": 0.3, "classes": 5, "dim": 5} | settings).double().eval()


def slow(loss, a, b, normalized, average):
    gates, total, counts = loss.gate(LABELS, PAIRS).detach(), 0.0, 0
    z, k = normalize(a, dim=1), normalize(b, dim=1)
    for i in range(len(a)):
        s = []
        for n in range(len(b)):
            if normalized == "before":
                s.append(sum(float(gates[i, d] ** 2 * z[i, d] * k[n, d]) for d in range(5)) / 0.3)
            else:
                one, other = gates[i] * z[i], gates[i] * k[n]
                s.append(float(one @ other / one.norm() / other.norm()) / 0.3)
        negatives = sum(math.exp(s[n]) for n in range(len(b)) if LABELS[n] not in (LABELS[i], PAIRS[i]))
        positives = [s[p] for p in range(len(b)) if LABELS[p] == PAIRS[i]]
        losses = [math.log(math.exp(each) + negatives) - each for each in positives]
        counts += len(losses)
        total += sum(losses) / (max(len(losses), 1) if average == "anchors" else 1)
    return total / (len(a) if average == "anchors" else counts)


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("normalized", ["before", "after"])
@pytest.mark.parametrize("average", ["anchors", "pairs"])
@pytest.mark.parametrize("fuse", [True, False])
def test_equals_the_slow_loop(block_size, normalized, average, fuse):
    a, b = draw()
    loss = objective(normalized=normalized, average=average, fuse=fuse, block_size=block_size)
    expected = slow(loss, a, b, normalized, average)
    assert loss.of_pairs(a, b, LABELS, PAIRS).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("normalized", ["before", "after"])
def test_with_gates_of_1_and_unique_labels_it_is_info_nce(normalized):
    (a, b), loss = draw(), objective(classes=6, pair_classes="identical", normalized=normalized)
    with torch.no_grad():
        loss.gate.mlp[-1].bias.fill_(1e3)
    logits = normalize(a, dim=1) @ normalize(b, dim=1).T / 0.3
    expected = cross_entropy(logits, torch.arange(6))
    assert loss(a, b, torch.arange(6)).item() == pytest.approx(expected.item(), rel=1e-10)
    ungated = objective(classes=6, pair_classes="identical", normalized=normalized, gated=False)
    assert ungated(a, b, torch.arange(6)).item() == pytest.approx(expected.item(), rel=1e-10)


def test_gradients_equal_finite_differences():
    for normalized in ("before", "after"):
        loss = objective(normalized=normalized)
        inputs = [each.requires_grad_() for each in draw()]
        assert torch.autograd.gradcheck(lambda a, b, loss=loss: loss.of_pairs(a, b, LABELS, PAIRS), inputs)


def test_the_gate_is_trained():
    loss = SimLAPLoss(classes=5, dim=5)
    loss(*draw().float(), LABELS).backward()
    assert all(each.grad is not None and each.grad.isfinite().all() for each in loss.gate.parameters())


@pytest.mark.parametrize("fuse", [True, False])
def test_the_gate_is_symmetric_and_within_0_and_1(fuse):
    gate = ClassPairGate(5, 3, fuse=fuse).eval()
    gates = gate(LABELS, PAIRS)
    assert torch.allclose(gates, gate(PAIRS, LABELS)) and gates.min() > 0 and gates.max() < 1


def test_pair_classes():
    seen = {}

    class Recorder(SimLAPLoss):
        def of_pairs(self, a, b, labels, pair_labels):
            seen["pairs"] = pair_labels
            return a.sum()

    a, b = draw()
    for kind in ("arbitrary", "identical", "distinct"):
        Recorder(classes=5, dim=5, pair_classes=kind)(a, b, LABELS)
        pairs = seen["pairs"]
        if kind == "arbitrary":
            assert sorted(pairs.tolist()) == sorted(LABELS.tolist())
        else:
            assert ((pairs == LABELS) == (kind == "identical")).all() and pairs.max() < 5


def test_an_anchor_without_positives_counts_0():
    a, b = draw()
    absent = torch.full((6,), 4)
    assert objective().of_pairs(a, b, LABELS, absent).item() == 0


def test_bad_input():
    a, b = draw()
    with pytest.raises(InputError, match="0 to 2, got 3"):
        objective(classes=3)(a, b, LABELS)
    with pytest.raises(InputError, match="got -1"):
        objective()(a, b, LABELS - 1)
    with elsewhere():
        assert objective(classes=3).of_pairs(a, b, LABELS, LABELS).isnan()
    with pytest.raises(ShapeError, match="dim 5 and the gate 7"):
        objective(dim=7)(a, b, LABELS)
    with pytest.raises(ShapeError, match="got 1 pair"):
        SimLAPLoss(classes=5, dim=5)(*draw(1).float(), LABELS[:1])
    for name in ("pair_classes", "normalized", "average"):
        with pytest.raises(ConfigError, match=f"{name} is 'some'"):
            SimLAPLoss(**{name: "some"})

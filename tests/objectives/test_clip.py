import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import ShapeError
from mmcl.objectives import CLIPLoss


def slow(a, b, temperature):
    a, b = normalize(a, dim=1), normalize(b, dim=1)
    losses = []
    for one, other in ((a, b), (b, a)):
        for i in range(len(one)):
            s = [float(one[i] @ other[j]) / temperature for j in range(len(other))]
            losses.append(math.log(sum(math.exp(value) for value in s)) - s[i])
    return sum(losses) / len(losses)


def test_equals_the_slow_double_loop():
    batch = draw([7])
    a, b = batch["a"].detach(), batch["b"].detach()
    assert CLIPLoss(0.2)(a, b).item() == pytest.approx(slow(a, b, 0.2), rel=1e-12)


def test_is_the_mean_of_two_cross_entropies():
    batch = draw([6])
    logits = normalize(batch["a"], dim=1) @ normalize(batch["b"], dim=1).T / 0.07
    expected = (cross_entropy(logits, torch.arange(6)) + cross_entropy(logits.T, torch.arange(6))) / 2
    assert CLIPLoss(0.07)(batch["a"], batch["b"]).item() == pytest.approx(expected.item(), rel=1e-12)


def test_is_symmetric_and_independent_of_length_and_order():
    batch = draw([6])
    a, b, order = batch["a"], batch["b"], batch["permutation"]
    loss = CLIPLoss()(a, b).item()
    assert CLIPLoss()(b, a).item() == pytest.approx(loss, rel=1e-12)
    assert CLIPLoss()(3 * a[order], b[order] / 7).item() == pytest.approx(loss, rel=1e-12)


def test_unpaired_sides_are_an_error():
    with pytest.raises(ShapeError, match=r"a \(2, 3\) and b \(3, 3\)"):
        CLIPLoss()(torch.ones(2, 3), torch.ones(3, 3))

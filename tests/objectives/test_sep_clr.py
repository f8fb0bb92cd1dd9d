"""Tests of SepCLR against loops, alignment and uniformity, and its separation of terms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import normalize

from mmcl.errors import ConfigError, InputError, LabelError, ShapeError
from mmcl.metrics.representation import alignment, uniformity
from mmcl.objectives import SepCLRLoss
from mmcl.objectives.sep_clr import attribute_alignment, gaussian_log_sums

TARGET = torch.tensor([True, False, True, True, False])


def draw(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(2, 5, dim, generator=generator, dtype=torch.float64) for dim in (4, 3))


def square(one, other):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(one, other, strict=True))


def slow(common, salient, t, weights, target=TARGET):
    c, n = normalize(common, dim=2), len(target)
    masked = [[row if flag else 0 * row for row, flag in zip(view, target, strict=True)] for view in salient]

    def align(x, y, rows):
        return sum(square(x[i], y[i]) for i in rows) / (2 * t) / len(rows) if rows else 0.0

    def unif(x):
        pairs = [math.exp(-square(x[i], x[j]) / (2 * t)) for i in range(n) for j in range(i + 1, n)]
        return math.log(sum(pairs) / len(pairs))

    def joint(x, y):
        total = 0.0
        for i in range(n):
            total += math.log(sum(math.exp(-(square(x[i], x[j]) + square(y[i], y[j])) / (2 * t)) for j in range(n)) / n)
        return total / n

    inside, outside = ([i for i in range(n) if bool(target[i]) == kind] for kind in (True, False))
    terms = [
        align(c[0], c[1], range(n)) + unif(c[0]) + unif(c[1]),
        align(salient[0], salient[1], inside) + unif(masked[0]) + unif(masked[1]),
        sum(align(view, 0 * view, outside) for view in salient) / 2,
        sum(joint(x, y) for x, y in zip(c, masked, strict=True)) / 2,
    ]
    return sum(weight * term for weight, term in zip((1.0, *weights), terms, strict=True))


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("weights", [(1000.0, 1000.0, 10.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)])
def test_equals_the_slow_loop(block_size, weights):
    common, salient = draw()
    loss = SepCLRLoss(0.7, *weights, block_size=block_size)(common, salient, TARGET)
    assert loss.item() == pytest.approx(slow(common, salient, 0.7, weights), rel=1e-10)


def test_the_common_term_is_alignment_and_uniformity():
    common, salient = draw()
    expected = alignment(*common) + uniformity(common[0], 1.0) + uniformity(common[1], 1.0)
    loss = SepCLRLoss(0.5, 0.0, 0.0, 0.0)(common, salient, TARGET)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_gradients_equal_finite_differences():
    inputs = [each.requires_grad_() for each in draw()]
    assert torch.autograd.gradcheck(lambda c, s: SepCLRLoss(0.7, 2.0, 3.0, 4.0)(c, s, TARGET), inputs)


def test_salient_embeddings_of_background_samples_only_have_the_background_term():
    common, salient = (each.requires_grad_() for each in draw())
    SepCLRLoss(background_weight=0.0)(common, salient, TARGET).backward()
    assert not salient.grad[:, ~TARGET].any() and salient.grad[:, TARGET].any()


@pytest.mark.parametrize("kind", [True, False])
def test_a_batch_of_one_kind_of_sample_is_finite(kind):
    (common, salient), flags = draw(), torch.full((5,), kind)
    loss = SepCLRLoss(0.7, 2.0, 3.0, 4.0)(common, salient, flags)
    assert loss.item() == pytest.approx(slow(common, salient, 0.7, (2.0, 3.0, 4.0), flags), rel=1e-10)


def test_log_sums_of_far_rows_keep_their_digits():
    rows = 1e4 + torch.rand(6, 3)
    found = gaussian_log_sums(rows, include_self=True)
    expected = gaussian_log_sums(rows.double(), include_self=True)
    assert torch.allclose(found.double(), expected, rtol=1e-4)


@pytest.mark.parametrize("block_size", [None, 2])
def test_attribute_alignment_equals_the_slow_loop(block_size):
    features, attributes = torch.randn(6, 2, dtype=torch.float64), torch.rand(6, 2, dtype=torch.float64)
    total = 0.0
    for d in range(2):
        pairs = [
            math.exp(-((attributes[i, d] - attributes[j, d]).item() ** 2) / 0.1)
            * (features[i, d] - features[j, d]).item() ** 2
            for i in range(6)
            for j in range(i + 1, 6)
        ]
        total += sum(pairs) / len(pairs) / 2
    found = attribute_alignment(features, attributes, 0.1, block_size=block_size)
    assert found.item() == pytest.approx(total, rel=1e-10)


def test_bad_input():
    common, salient = draw()
    with pytest.raises(ShapeError, match="2 views each"):
        SepCLRLoss()(common, salient[:, :3], TARGET)
    with pytest.raises(ShapeError, match="2 views each"):
        SepCLRLoss()(common[[0, 1, 0]], salient[[0, 1, 0]], TARGET)
    with pytest.raises(ShapeError, match=r"is_target has shape \(2,\)"):
        SepCLRLoss()(common, salient, TARGET[:2])
    with pytest.raises(LabelError, match="holds 2"):
        SepCLRLoss()(common, salient, torch.tensor([0, 1, 2, 0, 1]))
    with pytest.raises(ConfigError, match="'salient'"):
        SepCLRLoss().of({"views": common})
    for settings in ({"salient_weight": -1}, {"background_weight": float("nan")}, {"joint_weight": "x"}):
        with pytest.raises(InputError, match=next(iter(settings))):
            SepCLRLoss(**settings)
    with pytest.raises(InputError, match="bandwidth is 0"):
        attribute_alignment(common[0], common[1], 0)

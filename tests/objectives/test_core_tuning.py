"""Tests of Core-tuning: its contrast against a loop and SupCon, and its mixtures against a loop."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize
from waits import elsewhere

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives import CoreTuningLoss, SupConLoss
from mmcl.objectives.core_tuning import hard_mixtures, mixtures_of

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def draw(seed=0):
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(features, temperature, divisor):
    z, losses = normalize(features, dim=1).tolist(), []
    for i, row in enumerate(z):
        weights = [math.exp(sum(x * y for x, y in zip(row, other, strict=True)) / temperature) for other in z]
        weights[i] = 0.0
        probabilities = [each / sum(weights) for each in weights]
        positives = [p for j, p in enumerate(probabilities) if j != i and LABELS[j] == LABELS[i]]
        if positives:
            total = -sum((1 - p) * math.log(p) for p in positives)
            losses.append(total / (len(positives) if divisor == "positives" else len(z)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("divisor", ["positives", "rows"])
def test_equals_the_slow_loop(block_size, divisor):
    loss = CoreTuningLoss(0.3, divisor=divisor, block_size=block_size)(draw(), LABELS)
    assert loss.item() == pytest.approx(slow(draw(), 0.3, divisor), rel=1e-10)


def test_without_the_focal_weight_it_is_sup_con():
    one, other = CoreTuningLoss(0.3, focal=False)(draw(), LABELS), SupConLoss(0.3)(draw(), LABELS)
    assert one.item() == pytest.approx(other.item(), rel=1e-10)


def test_gradients_equal_finite_differences():
    assert torch.autograd.gradcheck(lambda features: CoreTuningLoss(0.3)(features, LABELS), draw().requires_grad_())


def test_without_positives_it_is_0():
    features = draw().requires_grad_()
    loss = CoreTuningLoss()(features, torch.arange(6))
    loss.backward()
    assert loss.item() == 0 and not features.grad.any()


def test_mixtures_equal_the_slow_loop():
    features, permutation = draw(), torch.tensor([3, 0, 1, 2, 5, 4])
    lam, other_lam = torch.rand(2, 6, dtype=torch.float64)
    found = mixtures_of(features, LABELS, 3, permutation, lam, other_lam)
    soft = torch.eye(3, dtype=torch.float64)[LABELS]
    assert torch.equal(found.features[:6], features) and torch.equal(found.labels[:6], soft)
    for i in range(6):
        partner = permutation[i]
        assert torch.allclose(found.features[6 + i], (1 - lam[i]) * features[i] + lam[i] * features[partner])
        assert torch.allclose(found.labels[6 + i], (1 - lam[i]) * soft[i] + lam[i] * soft[partner])
        cosines = [cosine_similarity(features[i], other, dim=0).item() for other in features]
        same = [j for j in range(6) if j != i and LABELS[j] == LABELS[i]]
        p = min(same, key=lambda j: cosines[j]) if same else i
        n = max((j for j in range(6) if LABELS[j] != LABELS[i]), key=lambda j: cosines[j])
        share = other_lam[i]
        assert torch.allclose(found.features[12 + i], share * features[p] + (1 - share) * features[n])
        assert torch.allclose(found.labels[12 + i], share * soft[p] + (1 - share) * soft[n])


def test_groups_are_equal_where_soft_labels_are():
    found = hard_mixtures(draw(), LABELS, classes=3)
    equal = ((found.labels[:, None] - found.labels).abs() < 1e-9).all(2)
    assert torch.equal(found.groups[:, None] == found.groups, equal)
    assert found.groups.min() < 0


def test_hard_negatives_of_equal_coefficients_are_positives_of_each_other():
    order, clipped = torch.tensor([1, 0, 4, 3, 2, 5]), torch.full((6,), 0.8)  # pairs (0, 1), (1, 0), (0, 1), ...
    groups = mixtures_of(draw(), LABELS, 3, order, clipped, torch.rand(6)).groups[6:12]
    assert groups[0] == groups[2] < 0 and groups[1] == groups[4] < 0 and groups[0] != groups[1]
    assert groups[3] == 2 and groups[5] == 0


def test_coefficients_of_hard_negatives_have_a_lower_bound():
    features = torch.eye(6)
    found = hard_mixtures(features, torch.arange(6), classes=6, lowest=0.8)
    own = found.features[6:12].diagonal()
    assert ((own <= 0.2 + 1e-6) | (own == 1)).all()  # 1 where a sample is its own partner


def test_mixtures_keep_their_gradient():
    features = draw().requires_grad_()
    found = hard_mixtures(features, LABELS, classes=3)
    CoreTuningLoss(0.3)(found.features, found.groups).backward()
    assert features.grad.abs().sum(1).min() > 0


def test_with_one_class_a_sample_is_its_own_hard_negative():
    half = torch.full((6,), 0.25, dtype=torch.float64)
    found = mixtures_of(draw(), torch.zeros(6).long(), 1, torch.arange(6), half, half)
    assert found.features.isfinite().all() and not found.groups.any()


def test_bad_input():
    half, order = torch.full((6,), 0.5), torch.arange(6)
    with pytest.raises(InputError, match="holds 2, expected 0 to 1"):
        mixtures_of(draw(), LABELS, 2, order, half, half)
    with elsewhere():
        assert mixtures_of(draw(), LABELS, 2, order, half, half).features.isnan().any()
    with pytest.raises(InputError, match="1.5"):
        mixtures_of(draw(), LABELS, 3, order, half, half + 1)
    with pytest.raises(ShapeError, match=r"\(4,\)"):
        hard_mixtures(draw(), LABELS[:4], 3)
    with pytest.raises(InputError, match="alpha is 0"):
        hard_mixtures(draw(), LABELS, 3, alpha=0)
    with pytest.raises(InputError, match="lowest is 2"):
        hard_mixtures(draw(), LABELS, 3, lowest=2)
    with pytest.raises(ConfigError, match="'columns'"):
        CoreTuningLoss(divisor="columns")

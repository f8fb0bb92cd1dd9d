"""Tests of SuSana Distancia: terms against loops, prototypical networks, and scores worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy
from waits import elsewhere

from mmcl.errors import ConfigError, InputError, ShapeError
from mmcl.objectives import SuSanaLoss
from mmcl.objectives.susana import icnn_score

LABELS = torch.tensor([4, 4, 7, 9, 9, 7, 4, 7, 9, 9])
SUPPORT = torch.tensor([True, True, True, True, True, False, False, False, False, False])


def draw(seed=0):
    return torch.randn(10, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def distance(one, other):
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(one, other, strict=True)) + 1e-6)


def prototypes(features):
    classes = sorted(set(LABELS.tolist()))
    return classes, torch.stack([features[(label == LABELS) & SUPPORT].mean(0) for label in classes])


def slow_prototriplet(features, margin):
    classes, centers = prototypes(features)
    losses = []
    for i in torch.nonzero(~SUPPORT).flatten().tolist():
        found = {label: distance(features[i], center) for label, center in zip(classes, centers, strict=True)}
        own = found.pop(int(LABELS[i]))
        losses.append(max(0.0, own - min(found.values()) + margin))
    return sum(losses) / len(losses)


def slow_score(features, labels, neighbours, per_class):
    n = len(features)
    k = min(neighbours, n - 2)
    ipc = n - 1 if per_class is None else max(per_class, k)
    within, between, share, farthest = [], [], 0.0, 0.0
    kept = []
    for i in range(n):
        order = sorted((j for j in range(n) if j != i), key=lambda j: distance(features[i], features[j]))[:ipc]
        d = {j: distance(features[i], features[j]) for j in order}
        edge = min((d[j] for j in order if labels[j] != labels[i]), default=math.inf)
        r = {j: 0.0 if edge == math.inf else d[j] / edge for j in order[:k]}
        r = {j: each / max(1.0, max(r.values())) for j, each in r.items()}
        kept.append((d, r, order[:k]))
        farthest = max([farthest, *(d[j] for j in order[:k] if labels[j] != labels[i])])
    for i, (d, r, close) in enumerate(kept):
        same = [j for j in close if labels[j] == labels[i]]
        differ = [j for j in close if labels[j] != labels[i]]
        share += len(same) / k / n
        within += [sum(r[j] for j in same) / len(same)] if same else []
        between += [sum(d[j] / farthest for j in differ) / len(differ)] if differ else []
    lambda_s = 1 - sum(within) / len(within) if within else 1.0
    lambda_d = sum(between) / len(between) if between else 1.0
    return ((lambda_s + lambda_d) / 2 + (1.0 if k + 2 >= n else share)) / 2


@pytest.mark.parametrize("block_size", [None, 3])
@pytest.mark.parametrize("neighbours", [1, 4, 20])
@pytest.mark.parametrize("per_class", [None, 2, 5])
def test_the_score_equals_the_slow_loop(block_size, neighbours, per_class):
    for seed in range(3):
        found = icnn_score(draw(seed), LABELS, neighbours=neighbours, per_class=per_class, block_size=block_size)
        expected = slow_score(draw(seed), LABELS.tolist(), neighbours, per_class)
        assert found.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("margin", [0.0, 0.5, 3.0])
def test_the_hinge_equals_the_slow_loop(margin):
    loss = SuSanaLoss(cross=False, icnn=False, margin=margin)(draw(), LABELS, SUPPORT)
    assert loss.item() == pytest.approx(slow_prototriplet(draw(), margin), rel=1e-10)


def test_cross_alone_is_the_loss_of_prototypical_networks():
    classes, centers = prototypes(draw())
    logits = -(draw()[~SUPPORT][:, None] - centers).square().sum(2) / 0.7
    expected = cross_entropy(logits, torch.tensor([classes.index(label) for label in LABELS[~SUPPORT].tolist()]))
    loss = SuSanaLoss(0.7, prototriplet=False, icnn=False)(draw(), LABELS, SUPPORT)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)


def test_the_loss_is_the_mean_of_its_terms():
    names, terms = ("cross", "prototriplet", "icnn"), []
    for name in names:
        terms.append(SuSanaLoss(**{each: each == name for each in names})(draw(), LABELS, SUPPORT).item())
    assert SuSanaLoss()(draw(), LABELS, SUPPORT).item() == pytest.approx(sum(terms) / 3, rel=1e-10)
    assert terms[2] == pytest.approx(-math.log(slow_score(draw(), LABELS.tolist(), 4, None)), rel=1e-10)


def test_gradients_equal_finite_differences():
    features = draw().requires_grad_()
    assert torch.autograd.gradcheck(lambda given: SuSanaLoss()(given, LABELS, SUPPORT), features)


def test_classes_far_apart_score_higher():
    centers = torch.eye(10, 3, dtype=torch.float64)[LABELS % 3]
    assert icnn_score(draw() / 100 + 10 * centers, LABELS, neighbours=2) > icnn_score(draw(), LABELS, neighbours=2)


def test_an_episode_of_one_class_has_loss_0():
    loss = SuSanaLoss()(draw(), torch.zeros(10).long(), SUPPORT)
    assert loss.item() == pytest.approx(0, abs=1e-12)


def test_queries_without_support_are_an_error():
    with pytest.raises(InputError, match="class 9 has queries"):
        SuSanaLoss()(draw(), LABELS, SUPPORT & (LABELS != 9))
    with elsewhere():
        assert not SuSanaLoss()(draw(), LABELS, SUPPORT & (LABELS != 9)).isfinite()


def test_bad_input():
    with pytest.raises(ConfigError, match="no term"):
        SuSanaLoss(cross=False, prototriplet=False, icnn=False)
    with pytest.raises(ConfigError, match="'is_support'"):
        SuSanaLoss().of({"features": draw(), "labels": LABELS})
    with pytest.raises(ShapeError, match=r"is_support has shape \(3,\)"):
        SuSanaLoss()(draw(), LABELS, SUPPORT[:3])
    for settings in ({"margin": -1}, {"neighbours": 0}, {"per_class": 0.5}):
        with pytest.raises(InputError, match=next(iter(settings))):
            SuSanaLoss(**settings)
    with pytest.raises(InputError, match="neighbours"):
        icnn_score(draw(), LABELS, neighbours=0)

import math

import pytest
import torch
from torch.nn.functional import normalize
from waits import elsewhere

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.representation import alignment, effective_rank, tolerance, uniformity


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("block_size", [None, 3])
def test_uniformity_equals_that_of_the_distances(block_size):
    features = draw(8, 4).requires_grad_()
    expected = torch.pdist(normalize(features, dim=1)).pow(2).mul(-2).exp().mean().log()
    found = uniformity(features, block_size=block_size)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    one, other = (torch.autograd.grad(value, features)[0] for value in (found, expected))
    assert torch.allclose(one, other, atol=1e-12)


def test_equal_points_are_not_uniform_and_opposites_are():
    assert uniformity(torch.ones(5, 3)).item() == pytest.approx(0.0, abs=1e-6)
    assert uniformity(torch.tensor([[1.0], [-1.0]])).item() == pytest.approx(-8.0)


def test_alignment_is_the_mean_distance():
    a, b = draw(6, 3), draw(6, 3, seed=1)
    distances = (normalize(a, dim=1) - normalize(b, dim=1)).norm(dim=1)
    assert alignment(a, b).item() == pytest.approx(distances.square().mean().item())
    assert alignment(a, b, power=1.0).item() == pytest.approx(distances.mean().item())
    assert alignment(a, 5 * a).item() == pytest.approx(0.0)


def test_tolerance_equals_the_slow_double_loop():
    features, labels = normalize(draw(7, 3), dim=1), torch.tensor([0, 1, 0, 2, 1, 0, 5])
    same = [float(features[i] @ features[j]) for i in range(7) for j in range(7) if i != j and labels[i] == labels[j]]
    assert tolerance(3 * features, labels).item() == pytest.approx(sum(same) / 42)
    assert tolerance(features, labels, same_label_only=True).item() == pytest.approx(sum(same) / len(same))
    assert tolerance(features, torch.arange(7), same_label_only=True).item() == 0


def test_invalid_features_raise():
    with pytest.raises(ShapeError, match="expected two rows or more"):
        uniformity(torch.ones(1, 3))
    with pytest.raises(InputError, match="scale is 0"):
        uniformity(torch.ones(2, 3), 0)
    with pytest.raises(InputError, match="power is -1"):
        alignment(torch.ones(2, 3), torch.ones(2, 3), -1)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_equal_pairs_have_a_finite_gradient(power):
    a = torch.eye(3, requires_grad=True)
    alignment(a, torch.eye(3), power=power).backward()
    assert bool(a.grad.isfinite().all())
    assert alignment(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "2", None, True])
def test_non_positive_parameter_raises(value):
    with pytest.raises(InputError, match="scale is"):
        uniformity(torch.eye(3), scale=value)
    with pytest.raises(InputError, match="power is"):
        alignment(torch.eye(3), torch.eye(3), power=value)


@pytest.mark.parametrize(
    "metric", [uniformity, lambda rows: alignment(rows, rows), lambda rows: tolerance(rows, torch.zeros(3).long())]
)
def test_values_are_checked_at_once_on_every_device(metric):
    rows = torch.eye(3).index_fill(0, torch.tensor([1]), torch.nan)
    with elsewhere(), pytest.raises(InputError, match="row 1 is not finite, it holds nan"):
        metric(rows)


def test_effective_rank_is_the_entropy_of_the_singular_values():
    features = draw(40, 5) * torch.tensor([9.0, 3.0, 1.0, 0.1, 0.0], dtype=torch.float64) + 7
    centred = features - features.mean(0)
    shares = torch.linalg.svdvals(centred)
    shares = shares / shares.sum()
    expected = math.exp(-sum(share * math.log(share) for share in shares.tolist() if share > 1e-12))
    assert effective_rank(features).item() == pytest.approx(expected, rel=1e-6)
    assert effective_rank(1e3 * features + 1).item() == pytest.approx(expected, rel=1e-6)
    assert effective_rank(torch.ones(4, 3)).item() == pytest.approx(1.0)
    with pytest.raises(ShapeError):
        effective_rank(torch.ones(1, 3))

import math

import pytest
import torch
from objective_cases import draw
from torch.nn.functional import normalize

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import CLIPLoss, M3CoLoss


def slow(mixed, fixed, permutation, lam, temperature):
    a, b, count = normalize(mixed, dim=1), normalize(fixed, dim=1), len(mixed)
    target = [[0.0] * count for _ in range(count)]
    for i in range(count):
        target[i][i] += float(lam[i])
        target[i][int(permutation[i])] += 1 - float(lam[i])
    total = 0.0
    for one, other, transposed in ((a, b, False), (b, a, True)):
        for i in range(count):
            s = [float(one[i] @ other[j]) / temperature for j in range(count)]
            below = math.log(sum(math.exp(value) for value in s))
            total -= sum((target[j][i] if transposed else target[i][j]) * (s[j] - below) for j in range(count))
    return total / count / 2


@pytest.mark.parametrize("block_size", [None, 2])
def test_equals_the_slow_double_loop(block_size):
    batch = draw([7])
    given = [batch[key].detach() for key in ("a", "b", "permutation", "lam")]
    loss = M3CoLoss(0.2, block_size=block_size).from_mixed(*given)
    assert loss.item() == pytest.approx(slow(*given, 0.2), rel=1e-12)


def test_without_mixing_it_equals_the_clip_loss():
    batch = draw([6])
    loss = M3CoLoss(0.1).from_mixed(batch["a"], batch["b"], batch["permutation"], torch.ones(6))
    assert loss.item() == pytest.approx(CLIPLoss(0.1)(batch["a"], batch["b"]).item(), rel=1e-12)
    assert M3CoLoss(0.1, mix_share=0.0)(batch["a"], batch["b"]).item() == pytest.approx(loss.item(), rel=1e-12)


def test_a_row_mixed_with_itself_is_unchanged():
    batch = draw([6])
    one = M3CoLoss().from_mixed(batch["a"], batch["b"], torch.arange(6), batch["lam"])
    other = M3CoLoss().from_mixed(batch["a"], batch["b"], torch.arange(6), torch.ones(6))
    assert one.item() == pytest.approx(other.item(), rel=1e-12)


def test_a_row_without_any_mixture_counts_in_the_mean():
    batch = draw([3])
    given = batch["a"].detach(), batch["b"].detach(), torch.tensor([1, 0, 2]), torch.tensor([0.0, 1.0, 1.0])
    assert M3CoLoss(0.2).from_mixed(*given).item() == pytest.approx(slow(*given, 0.2), rel=1e-12)


def test_mix_does_not_modify_its_input():
    torch.manual_seed(0)
    rows = torch.randn(400, 3, 5)
    before = rows.clone()
    mixed, permutation, lam = M3CoLoss(alpha=0.15, mix_share=0.5).mix(rows)
    assert torch.equal(rows, before) and torch.equal(permutation.sort().values, torch.arange(400))
    expected = lam[:, None, None] * rows + (1 - lam)[:, None, None] * rows[permutation]
    assert torch.equal(mixed, expected)
    assert 0.4 < (lam == 1).float().mean() < 0.75  # half stay unmixed, and Beta(0.15, 0.15) draws 1 as well
    torch.manual_seed(0)
    assert torch.equal(M3CoLoss().mix(torch.randn(400, 3, 5))[0], mixed)


def test_mixtures_pass_gradients_to_both_components():
    batch = draw([5])
    torch.manual_seed(3)
    (gradient,) = torch.autograd.grad(M3CoLoss(mix_share=1.0)(batch["a"], batch["b"]), batch["a"])
    assert bool((gradient.norm(dim=1) > 0).all())


def test_invalid_mixtures_are_an_error():
    a, half = torch.ones(3, 2), torch.full((3,), 0.5)
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError, match=f"lam holds {share:.1f}"):
            M3CoLoss().from_mixed(a, a, torch.arange(3), torch.tensor([0.5, share, 0.5], dtype=torch.float64))
    for permutation in ([0, 0, 1], [1, 2, 3], [-1, 0, 1]):
        with pytest.raises(InputError, match=r"permutation of 0\.\.2"):
            M3CoLoss().from_mixed(a, a, torch.tensor(permutation), half)
    with pytest.raises(ShapeError, match=r"lam has shape \(2,\)"):
        M3CoLoss().from_mixed(a, a, torch.arange(3), half[:2])
    with pytest.raises(InputError, match="alpha is"):
        M3CoLoss(mix_share=1.5)

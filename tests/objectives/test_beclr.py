"""Tests of BECLR: a slow loop with and without neighbours, values by hand, state, and bad input."""

from __future__ import annotations

import math

import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.files.loading import load_state
from mmcl.objectives import BECLRLoss


def draw(rows=8, dim=4, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(one, other):
    return float(one @ other / (one.norm() * other.norm()))


def slow_loss(predicted, student, teacher, temperature, weight):
    """Compute the loss of an enhanced batch, lists of two views of samples."""
    count = len(student[0])
    aligned = [cosine(predicted[v][i], teacher[1 - v][i]) for v in range(2) for i in range(count)]
    means = []
    for v in range(2):
        for i in range(count):
            others = [
                math.exp(cosine(student[v][i], student[w][j]) / temperature)
                for w in range(2)
                for j in range(count)
                if j != i
            ]
            means.append(sum(others) / len(others))
    return -sum(aligned) / len(aligned) + weight * math.log(sum(means) / len(means))


def sides(rows=4):
    return [draw(2 * rows, seed=seed).view(2, rows, 4) for seed in range(3)]


def filled(**settings):
    loss = BECLRLoss(**{"dim": 4, "memory": 24, "clusters": 3, "neighbours": 3, **settings}).double()
    for seed, memory in enumerate(loss.memories.values()):
        memory.push(torch.nn.functional.normalize(draw(24, seed=9 + seed)))
    return loss


@pytest.mark.parametrize("temperature", [0.1, 2.0])
@pytest.mark.parametrize("block_size", [None, 3])
def test_the_loss_equals_the_slow_loop(temperature, block_size):
    loss = BECLRLoss(temperature, dim=4, neighbours=0, weight=0.7, block_size=block_size)
    assert loss.of_views(*sides()).item() == pytest.approx(slow_loss(*sides(), temperature, 0.7), rel=1e-10)


@pytest.mark.parametrize("block_size", [None, 3])
def test_the_loss_of_an_enhanced_batch_equals_the_slow_loop(block_size):
    loss, enhanced = filled(weight=0.7, block_size=block_size), []
    for memory, rows in zip(loss.memories.values(), sides(), strict=True):
        near = [memory.neighbours(torch.nn.functional.normalize(view), 3) for view in rows]
        enhanced.append([torch.cat([view, each.flatten(0, 1)]) for view, each in zip(rows, near, strict=True)])
    assert loss.of_views(*sides()).item() == pytest.approx(slow_loss(*enhanced, 2.0, 0.7), rel=1e-10)


def test_the_gradient_is_that_of_the_dense_loss():
    loss, rows = filled(weight=0.7).eval(), [each.requires_grad_() for each in sides()]
    loss.of_views(*rows).backward()
    assert rows[2].grad is None
    near = loss.memories["student"].neighbours(torch.nn.functional.normalize(rows[1].detach().flatten(0, 1)), 3)
    student = rows[1].detach().requires_grad_()
    everything = torch.cat([student, near.view(2, -1, 4)], 1).flatten(0, 1)
    unit = torch.nn.functional.normalize(everything, dim=1)
    sample = torch.arange(16).repeat(2)
    values = (unit @ unit.T / 2).exp() * (sample[:, None] != sample)
    (0.7 * (values.sum() / (32 * 30)).log()).backward()
    assert torch.allclose(rows[1].grad, student.grad, rtol=1e-10)


def test_orthogonal_samples_have_a_loss_worked_out_by_hand():
    """With equal views, alignment is -1, and all pairs of different samples have exp(0) = 1, whose logarithm is 0."""
    eye = torch.eye(4, dtype=torch.float64).expand(2, 4, 4)
    assert BECLRLoss(dim=4, neighbours=0).of_views(eye, eye, eye).item() == pytest.approx(-1, abs=1e-12)
    same = torch.ones(2, 4, 4, dtype=torch.float64)
    assert BECLRLoss(dim=4, neighbours=0).of_views(same, same, same).item() == pytest.approx(-1 + 0.1 / 2)


def test_neighbours_join_after_warmup_and_once_memories_are_full():
    features, teacher = draw(8), draw(8, seed=1)
    plain, counted = BECLRLoss(dim=4, neighbours=0).double(), []
    for warmup in (0, 5):
        loss = BECLRLoss(dim=4, memory=24, clusters=3, neighbours=3, warmup=warmup).double()
        loss.predictor.load_state_dict(plain.predictor.state_dict())
        same = [torch.isclose(loss(features, teacher), plain(features, teacher)).item() for _ in range(8)]
        counted.append(same.index(False))
        assert int(loss.steps) == 8
    assert counted == [3, 5]  # a batch fills a third of the memory


def test_the_state_is_resumed_to_the_last_digit_and_kept_in_evaluation():
    def make():
        torch.manual_seed(0)
        return BECLRLoss(dim=4, memory=12, clusters=3, neighbours=2)

    one, other = make(), make()
    batches = [(draw(8, seed=s).float(), draw(8, seed=s + 50).float()) for s in range(5)]
    for batch in batches[:3]:
        one(*batch)
    load_state(other, one.state_dict(), "the objective")
    assert [one(*batch).item() for batch in batches[3:]] == [other(*batch).item() for batch in batches[3:]]
    before = {name: value.clone() for name, value in one.state_dict().items()}
    one.eval()(*batches[0])
    assert all(torch.equal(value, before[name]) for name, value in one.state_dict().items())


def test_empty_and_single_samples():
    assert BECLRLoss(dim=4)(torch.zeros(0, 4), torch.zeros(0, 4)).item() == 0
    one = torch.ones(2, 1, 4)
    assert BECLRLoss(dim=4, neighbours=0).of_views(one, one, one).item() == pytest.approx(-1)


def test_bad_input_is_an_error():
    with pytest.raises(ShapeError, match=r"\(7, 4\).*two views"):
        BECLRLoss(dim=4)(torch.ones(7, 4), torch.ones(7, 4))
    with pytest.raises(ShapeError, match=r"\(8, 4\).*128"):
        BECLRLoss()(torch.ones(8, 4), torch.ones(8, 4))
    with pytest.raises(ShapeError, match="8 rows for a queue of 6"):
        BECLRLoss(dim=4, memory=6, clusters=2)(draw(), draw())
    for wrong in ({"neighbours": -1}, {"warmup": 0.5}, {"memory": 0}, {"clusters": 9, "memory": 8}, {"dim": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            BECLRLoss(**wrong)
    with pytest.raises(InputError, match="neighbours is 9 .* 8"):
        BECLRLoss(memory=8, clusters=2, neighbours=9)

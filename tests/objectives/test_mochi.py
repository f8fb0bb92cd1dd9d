"""Tests of MoCHi against a loop, cross-entropy with a queue, and its mixtures."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import MoCHiLoss
from mmcl.objectives.mochi import mix


def draw(batch=4, seed=0):
    return torch.randn(2, batch, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def queued(pushed=9, **settings):
    objective = MoCHiLoss(**{"temperature": 0.3, "queue": 12, "hardest": 4} | settings).double()
    generator = torch.Generator().manual_seed(1)
    objective.queue.push(normalize(torch.randn(pushed, 5, generator=generator, dtype=torch.float64), dim=1))
    return objective


def slow(objective, queries, keys, mixtures):
    queue, losses = objective.queue.rows[: int(objective.queue.count)].tolist(), []
    for i, (q, k) in enumerate(zip(normalize(queries, dim=1).tolist(), normalize(keys, dim=1).tolist(), strict=True)):
        negatives = [*queue, *mixtures[i].tolist()]
        own, *others = (math.exp(sum(x * y for x, y in zip(q, key, strict=True)) / 0.3) for key in [k, *negatives])
        losses.append(-math.log(own / (own + sum(others))))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("block_size", [None, 3])
def test_equals_the_slow_loop(block_size):
    objective, (queries, keys) = queued(block_size=block_size), draw()
    mixtures = objective.mixtures(queries)
    assert mixtures.shape == (4, 1024 + 128, 5)
    loss = objective.of_mixtures(queries, keys, mixtures)
    assert loss.item() == pytest.approx(slow(objective, queries, keys, mixtures), rel=1e-10)


def test_without_mixtures_it_is_the_cross_entropy_of_moco():
    objective, (queries, keys) = queued(12, mixed=0, mixed_queries=0), draw()
    q, k = normalize(queries, dim=1), normalize(keys, dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ objective.queue.rows.T], 1) / 0.3
    expected = cross_entropy(logits, torch.zeros(4).long())
    assert objective(queries, keys).item() == pytest.approx(expected.item(), rel=1e-10)


def test_without_mixtures_keys_of_other_queries_are_no_negatives_as_in_contriever():
    objective, (queries, keys) = queued(12, mixed=0, mixed_queries=0, temperature=0.05).eval(), draw()
    whole = objective(queries, keys).item()
    single = [objective(queries[i : i + 1], keys[i : i + 1]).item() for i in range(4)]
    assert whole == pytest.approx(sum(single) / 4, rel=1e-12)


def test_mixtures_have_given_partners_and_shares():
    one, other = normalize(draw(), dim=2)
    share = torch.tensor([[0.3], [0.0], [1.0], [0.5]], dtype=torch.float64)
    found = mix(one[:, None], other[:, None], share)
    assert torch.allclose(found[:, 0], normalize(share * one + (1 - share) * other, dim=1), rtol=1e-12)


def test_only_the_hardest_negatives_are_mixed():
    objective, queries = queued(hardest=1, mixed=3, mixed_queries=2), draw()[0]
    q = normalize(queries, dim=1)
    hardest = objective.queue.rows[(q @ objective.queue.rows[:9].T).argmax(1)]
    found = objective.mixtures(queries)
    for number in range(3):  # a mixture of a key and itself
        assert torch.allclose(found[:, number], hardest, rtol=1e-10)
    for number in (3, 4):  # at most half of the query
        assert ((found[:, number] * hardest).sum(1) >= (found[:, number] * q).sum(1) - 1e-12).all()
    assert torch.allclose(found.norm(dim=2), torch.ones(4, 5, dtype=torch.float64))


def test_mixtures_are_harder_than_the_queue():
    objective, queries = queued(), draw()[0]
    q = normalize(queries, dim=1)
    mixed = torch.einsum("bd,bmd->bm", q, objective.mixtures(queries)).mean()
    assert mixed > (q @ objective.queue.rows[:9].T).mean()


def test_gradients_equal_finite_differences_and_keys_get_none():
    objective, (queries, keys) = queued(), draw()
    mixtures = objective.mixtures(queries)
    queries.requires_grad_()
    assert torch.autograd.gradcheck(lambda q: objective.of_mixtures(q, keys, mixtures), queries)
    keys.requires_grad_()
    objective(queries, keys).backward()
    assert keys.grad is None and queries.grad.any()


def test_mixtures_wait_for_the_warmup_and_for_the_first_keys():
    objective, plain = queued(warmup=1), queued(mixed=0, mixed_queries=0)
    assert objective(*draw()).item() == pytest.approx(plain(*draw()).item(), rel=1e-12)
    assert objective(*draw()).item() > plain(*draw()).item() + 0.1
    assert MoCHiLoss(queue=12)(*draw()).item() == 0


def test_keys_enter_the_queue_in_training_only():
    objective, (queries, keys) = queued(0), draw()
    objective.eval()(queries, keys)
    assert int(objective.queue.count) == 0
    objective.train()(queries, keys)
    assert torch.allclose(objective.queue.rows[:4], normalize(keys, dim=1))


def test_a_resumed_state_gives_the_same_losses():
    one, other = queued(), queued(3)
    for seed in range(3):
        one(*draw(seed=seed))
    other.load_state_dict(one.state_dict())
    found = []
    for objective in (one, other):
        torch.manual_seed(0)
        found.append([objective(*draw(seed=seed)).item() for seed in range(3, 6)])
    assert found[0] == found[1]


def test_bad_input():
    with pytest.raises(ShapeError, match="queue of 3"):
        MoCHiLoss(queue=3)(*draw())
    with pytest.raises(ShapeError, match="queue of dim 5"):
        queued()(*torch.ones(2, 4, 7))
    for settings in ({"hardest": 0}, {"mixed": -1}, {"mixed_queries": 1.5}, {"warmup": "x"}, {"queue": 0}):
        with pytest.raises(InputError, match=next(iter(settings))):
            MoCHiLoss(**settings)

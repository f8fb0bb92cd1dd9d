"""Tests of MW against a loop, softplus over all pairs, the AUC, and in memory."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from objective_cases import draw
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize, softplus
from waits import elsewhere

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import LearnableTemperature, MWLoss


def sides(batch=6, negatives=3, seed=0):
    given = draw([batch], seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    hard = torch.randn(batch, negatives, given["a"].shape[1], generator=generator, dtype=torch.float64)
    return given["a"], given["b"], hard.requires_grad_()


def slow(queries, passages, hard, temperature):
    """Return the sum over all positives and negatives, and the number of negatives."""
    q, p = normalize(queries, dim=1), normalize(passages, dim=1)
    h = [] if hard is None else normalize(hard.flatten(0, 1), dim=1)
    positives = [float(q[i] @ p[i]) for i in range(len(q))]
    negatives = [float(q[i] @ p[j]) for i in range(len(q)) for j in range(len(p)) if i != j]
    negatives += [float(query @ each) for query in q for each in h]
    total = sum(math.log(1 + math.exp((n - s) / temperature)) for s in positives for n in negatives)
    return total, len(negatives)


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("temperature", [0.05, 0.3])
@pytest.mark.parametrize("negatives", [None, 0, 3])
def test_equals_the_slow_loop(block_size, temperature, negatives):
    queries, passages, hard = (each.detach() for each in sides(negatives=negatives or 0))
    hard = None if negatives is None else hard
    total, count = slow(queries, passages, hard, temperature)
    assert count == 6 * (6 * (negatives or 0) + 5)
    found = MWLoss(temperature, block_size=block_size)(queries, passages, hard)
    assert found.item() == pytest.approx(total / 6, rel=1e-10)
    mean = MWLoss(temperature, "mean", block_size=block_size)(queries, passages, hard)
    assert mean.item() == pytest.approx(total / 6 / count, rel=1e-10)


def test_a_value_by_hand():
    assert MWLoss(1.0)(torch.eye(2), torch.eye(2)).item() == pytest.approx(2 * math.log(1 + 1 / math.e))
    assert MWLoss(1.0, "mean")(torch.eye(2), -torch.eye(2)).item() == pytest.approx(math.log(1 + math.e))
    assert MWLoss(1.0)(torch.eye(1, 2), torch.eye(1, 2)).item() == 0  # no negatives
    hard = torch.tensor([[[0.0, 1.0]]])
    assert MWLoss(1.0)(torch.eye(1, 2), torch.eye(1, 2), hard).item() == pytest.approx(math.log(1 + 1 / math.e))


def test_one_positive_is_the_softplus_of_its_hard_negatives():
    queries, passages, hard = sides(batch=1)
    q, p, h = (normalize(each, dim=-1) for each in (queries, passages, hard))
    expected = softplus((torch.einsum("bd,bnd->bn", q, h) - (q * p).sum(1)) / 0.2).sum()
    assert MWLoss(0.2)(queries, passages, hard).item() == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("temperature", [0.02, 0.1, 1.0])
def test_wrongly_ordered_pairs_are_at_most_the_mean_loss_over_log_2(seed, temperature):
    a, b, hard = sides(batch=9, seed=seed)
    b = b + a * (seed % 4)  # from chance to nearly perfect
    q, keys = normalize(a, dim=1), normalize(torch.cat([b, hard.flatten(0, 1)]), dim=1)
    scores = (q @ keys.T).detach()
    own = torch.eye(*scores.shape, dtype=torch.bool)
    wrong = 1 - roc_auc_score(own.flatten(), scores.flatten())
    assert wrong <= MWLoss(temperature, "mean")(a, b, hard).item() / math.log(2)


@pytest.mark.parametrize("block_size", [None, 2])
def test_gradients_equal_finite_differences(block_size):
    temperature = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)

    def loss(*given):
        return MWLoss(given[3], block_size=block_size)(*given[:3])

    assert torch.autograd.gradcheck(loss, (*sides(), temperature))


@pytest.mark.parametrize("temperature", [0.3, 0.01, 0.001])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_batches_equal_the_comparisons_one_by_one(temperature, dtype):
    generator = torch.Generator().manual_seed(0)
    a, b = (normalize(torch.randn(90, 8, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    given = [each.to(dtype).requires_grad_() for each in (a, a + b)]
    q, p = (normalize(each.double(), dim=1) for each in given)
    scores = q @ p.T / temperature
    negatives = scores[~torch.eye(90, dtype=torch.bool)]
    expected = softplus(negatives[:, None] - scores.diagonal(), threshold=100).sum() / 90
    with elsewhere():  # the automatic number of cells depends on values on the CPU only
        same = MWLoss(temperature, block_size=32)(*given)
    found = MWLoss(temperature, block_size=32)(*given)
    tolerance = 3e-5 if dtype == torch.float32 else 1e-8
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    assert same.item() == pytest.approx(expected.item(), rel=tolerance if temperature > 0.005 else 1e-5)
    ours, theirs = torch.autograd.grad(found, given), torch.autograd.grad(expected, given)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).norm() <= 10 * tolerance * other.norm()


def test_a_temperature_below_the_resolution_is_finite_and_close():
    a, b, _ = sides(batch=40)
    for temperature in (1e-4, 1e-6, 1e-12):
        exact = MWLoss(temperature)(a, b)
        found = MWLoss(temperature, block_size=16)(a, b)
        assert found.item() == pytest.approx(exact.item(), rel=1e-3)
        assert all(each.isfinite().all() for each in torch.autograd.grad(found, (a, b)))


def test_a_learned_temperature_changes_with_hard_negatives():
    queries, passages, hard = (each.detach() for each in sides())
    temperature = LearnableTemperature(0.1)
    MWLoss(temperature)(queries, passages, hard).backward()
    assert temperature.log_scale.grad.item() != 0


_MEASURE = """
import torch
from mmcl.objectives import MWLoss
from peak_memory import PeakMemory
generator = torch.Generator().manual_seed(0)
def step(count):
    a, b = (torch.randn(count, 64, generator=generator).requires_grad_() for _ in range(2))
    memory = PeakMemory()
    MWLoss()(a, b).backward()
    return memory.grown() / 2**20
step(300)  # whatever is set up once
print(step(4096))
"""


@pytest.mark.slow
def test_4096_queries_and_passages_need_less_than_500_mib():
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout) < 500


def test_bad_input():
    queries, passages, hard = (each.detach() for each in sides())
    with pytest.raises(InputError, match="'max'"):
        MWLoss(reduction="max")
    for shape in ((5, 3, 6), (18, 6), (6, 3, 4)):
        with pytest.raises(ShapeError, match=str(shape[0])):
            MWLoss()(queries, passages, torch.zeros(shape, dtype=torch.float64))
    hard[2, 1, 0] = float("nan")
    with pytest.raises(InputError, match=r"hard_negatives.* 7 .*nan"):
        MWLoss()(queries, passages, hard)
    with elsewhere():
        assert MWLoss()(queries, passages, hard).isnan()
        assert MWLoss(block_size=2)(queries, passages, hard).isnan()

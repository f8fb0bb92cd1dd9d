import math

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import ShapeError
from mmcl.objectives import weighted_info_nce


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow(queries, keys, weights, denominator, temperature, normalize_rows=True):
    """The equation, one number at a time."""
    losses = []
    for query, weight, compared in zip(queries, weights, denominator, strict=True):
        if weight.sum() == 0:
            continue
        weight = weight / weight.sum() if normalize_rows else weight
        s = [float(query @ key / query.norm() / key.norm() / temperature) for key in keys]
        total = math.log(sum(float(n) * math.exp(value) for n, value in zip(compared, s, strict=True)))
        losses.append(float(weight.sum()) * total - sum(float(w) * value for w, value in zip(weight, s, strict=True)))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("normalize_rows", [True, False])
@pytest.mark.parametrize("kind", ["none", "mask", "weights"])
def test_equals_the_slow_loop(kind, normalize_rows):
    queries, keys = draw(5, 4), draw(7, 4, seed=1)  # as many queries as keys would hide a transposition
    weights = draw(5, 7, seed=2).abs() * (draw(5, 7, seed=3) > 0)
    weights[2] = 0  # a query without a positive
    denominator = {"none": None, "mask": draw(5, 7, seed=4) > -0.5, "weights": draw(5, 7, seed=5).clamp(min=0)}[kind]
    given = torch.ones(5, 7) if denominator is None else denominator
    loss = weighted_info_nce(
        queries, keys, weights, denominator=denominator, temperature=0.3, normalize_rows=normalize_rows
    )
    assert loss.item() == pytest.approx(slow(queries, keys, weights, given, 0.3, normalize_rows), rel=1e-12)


def test_with_one_positive_each_it_is_cross_entropy():
    queries, keys = draw(6, 3), draw(6, 3, seed=1)
    logits = normalize(queries, dim=1) @ normalize(keys, dim=1).T / 0.2
    expected = cross_entropy(logits, torch.arange(6))
    assert weighted_info_nce(queries, keys, torch.eye(6), temperature=0.2).item() == pytest.approx(expected.item())


def test_a_number_worked_out_by_hand():
    # Similarities to the two keys are 1 and 0, both positives alike: log(e + 1) - 1/2.
    loss = weighted_info_nce(torch.eye(2)[:1], torch.eye(2), torch.ones(1, 2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(math.e + 1) - 0.5, abs=1e-6)


def test_gradients():
    queries, keys = draw(3, 4).requires_grad_(), draw(5, 4, seed=1).requires_grad_()
    temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    weights = draw(3, 5, seed=2).clamp(min=0)
    assert torch.autograd.gradcheck(
        lambda q, k, t: weighted_info_nce(q, k, weights, temperature=t), (queries, keys, temperature)
    )


def test_no_positive_at_all_is_zero_with_a_gradient_path():
    queries = draw(3, 4).requires_grad_()
    nothing = torch.zeros(3, 5, dtype=torch.bool)
    for denominator in (None, nothing):
        loss = weighted_info_nce(queries, draw(5, 4, seed=1), nothing, denominator=denominator)
        loss.backward()
        assert loss.item() == 0 and torch.equal(queries.grad, torch.zeros(3, 4, dtype=torch.float64))


def test_half_precision_is_computed_in_float32():
    queries, keys = draw(8, 16, dtype=torch.float32), draw(8, 16, seed=1, dtype=torch.float32)
    exact = weighted_info_nce(queries, keys, torch.eye(8), temperature=0.05)
    half = weighted_info_nce(queries.bfloat16(), keys.bfloat16(), torch.eye(8), temperature=0.05)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(exact.item(), rel=2e-2)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="equal dim"):
        weighted_info_nce(draw(2, 3), draw(2, 4), torch.eye(2))
    with pytest.raises(ShapeError, match=r"weights has shape \(2, 2\), expected \(queries, keys\) = \(2, 3\)"):
        weighted_info_nce(draw(2, 3), draw(3, 3), torch.eye(2))

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy, normalize

from mmcl.errors import InputError, ShapeError
from mmcl.objectives import Identity, SameLabel, Similarity, weighted_info_nce


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def slow(queries, keys, weights, denominator, temperature, normalize_rows=True):
    """Return the loss computed from the equation, one number at a time."""
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
    queries, keys = draw(5, 4), draw(7, 4, seed=1)  # different numbers, so that a transposition shows
    weights = draw(5, 7, seed=2).abs() * (draw(5, 7, seed=3) > 0)
    weights[2] = 0  # a query without a positive
    denominator = {"none": None, "mask": draw(5, 7, seed=4) > -0.5, "weights": draw(5, 7, seed=5).clamp(min=0)}[kind]
    given = torch.ones(5, 7) if denominator is None else denominator
    loss = weighted_info_nce(
        queries, keys, weights, denominator=denominator, temperature=0.3, normalize_rows=normalize_rows
    )
    assert loss.item() == pytest.approx(slow(queries, keys, weights, given, 0.3, normalize_rows), rel=1e-12)


def test_with_one_positive_each_it_equals_cross_entropy():
    queries, keys = draw(6, 3), draw(6, 3, seed=1)
    logits = normalize(queries, dim=1) @ normalize(keys, dim=1).T / 0.2
    expected = cross_entropy(logits, torch.arange(6))
    assert weighted_info_nce(queries, keys, torch.eye(6), temperature=0.2).item() == pytest.approx(expected.item())


def test_a_value_by_hand():
    # Similarities to the two keys are 1 and 0, with equal weights: log(e + 1) - 1/2.
    loss = weighted_info_nce(torch.eye(2)[:1], torch.eye(2), torch.ones(1, 2), temperature=1.0)
    assert loss.item() == pytest.approx(math.log(math.e + 1) - 0.5, abs=1e-6)


def test_gradients_equal_finite_differences():
    queries, keys = draw(3, 4).requires_grad_(), draw(5, 4, seed=1).requires_grad_()
    temperature = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    weights = draw(3, 5, seed=2).clamp(min=0)
    assert torch.autograd.gradcheck(
        lambda q, k, t: weighted_info_nce(q, k, weights, temperature=t), (queries, keys, temperature)
    )


def test_without_positives_the_loss_is_0_with_a_gradient_path():
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


def test_incompatible_shapes_are_an_error():
    with pytest.raises(ShapeError, match="queries .* keys"):
        weighted_info_nce(draw(2, 3), draw(2, 4), torch.eye(2))
    with pytest.raises(ShapeError, match=r"weights .*\(2, 2\).*\(2, 3\)"):
        weighted_info_nce(draw(2, 3), draw(3, 3), torch.eye(2))


@pytest.mark.parametrize("block_size", [None, 2])
def test_each_query_can_have_a_temperature(block_size):
    queries, keys = draw(5, 4).requires_grad_(), draw(6, 4, seed=1)
    temperature, weights = draw(5, seed=2).abs().add(0.1).requires_grad_(), draw(5, 6, seed=3).abs()
    options = {"temperature": temperature, "block_size": block_size}
    loss = weighted_info_nce(queries, keys, weights, **options)
    one_by_one = [
        weighted_info_nce(queries[i : i + 1], keys, weights[i : i + 1], temperature=temperature[i]) for i in range(5)
    ]
    expected = torch.stack(one_by_one).mean()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for one, other in zip(
        torch.autograd.grad(loss, (queries, temperature)),
        torch.autograd.grad(expected, (queries, temperature)),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("block_size", [None, 2])
def test_the_gradient_equals_that_of_the_first_step_of_isogclr(block_size):
    """Each anchor has its own temperature. The published gradient is a softmax over negatives, times h."""
    queries, temperature = normalize(draw(6, 4), dim=1), torch.linspace(0.2, 0.7, 6, dtype=torch.float64)

    def surrogate(z):  # the loss that the algorithm differentiates at its first visit, where s_i is the batch mean
        z = normalize(z, dim=1)
        similarity, others = z @ z.T, ~torch.eye(6, dtype=torch.bool)
        h = similarity - similarity[torch.arange(6), (torch.arange(6) + 3) % 6][:, None]
        negative = others & ((torch.arange(6)[:, None] - torch.arange(6)) % 3 != 0)
        weights = (h / temperature[:, None]).masked_fill(~negative, -torch.inf).softmax(1).detach()
        return (weights * h).sum(1).mean()

    def ours(z):  # tau_i (log sum of negatives - s_i,p / tau_i)
        return weighted_info_nce(
            z,
            z,
            Identity(6, shift=3).scaled(temperature),
            denominator=SameLabel(torch.arange(3).repeat(2)).complement(),
            temperature=temperature,
            normalize_rows=False,
            block_size=block_size,
        )

    one, other = (torch.autograd.functional.jacobian(function, queries) for function in (surrogate, ours))
    assert torch.allclose(one, other, atol=1e-12)


@pytest.mark.parametrize("block_size", [None, 2])
def test_extra_keys_are_compared_only_with_their_own_query(block_size):
    """As for hard-negative mixtures (MoCHi), which add synthetic negatives of one anchor to the common keys."""
    queries, keys, extra = draw(4, 5).requires_grad_(), draw(6, 5, seed=1), draw(4, 3, 5, seed=2)
    logits = normalize(queries, dim=1) @ normalize(keys, dim=1).T / 0.2
    own = torch.einsum("qd,qed->qe", normalize(queries, dim=1), normalize(extra, dim=2)) / 0.2
    expected = cross_entropy(torch.cat([logits, own], dim=1), torch.arange(4))
    weights = Identity(4, keys=6)
    loss = weighted_info_nce(queries, keys, weights, temperature=0.2, extra_keys=extra, block_size=block_size)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    one, other = (torch.autograd.grad(value, queries)[0] for value in (loss, expected))
    assert torch.allclose(one, other, atol=1e-12)
    of_itself = weighted_info_nce(queries, queries, Identity(4), temperature=0.2, extra_keys=extra, block_size=2)
    clone = weighted_info_nce(queries, queries.clone(), Identity(4), temperature=0.2, extra_keys=extra)
    assert of_itself.item() == pytest.approx(clone.item(), rel=1e-12)


@pytest.mark.parametrize("block_size", [None, 2])
def test_a_coefficient_replaces_the_row_sum(block_size):
    queries, keys, weights = draw(4, 5), draw(6, 5, seed=1), draw(4, 6, seed=2).abs()
    coefficient = torch.tensor([1.0, 0.0, 2.0, 0.5])
    s = normalize(queries, dim=1) @ normalize(keys, dim=1).T / 0.3
    expected = (coefficient * s.logsumexp(1) - (weights * s).sum(1)).mean()
    loss = weighted_info_nce(
        queries,
        keys,
        weights,
        temperature=0.3,
        normalize_rows=False,
        coefficient=coefficient,
        block_size=block_size,
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


@pytest.mark.parametrize("block_size", [1, 2, 3])
@pytest.mark.parametrize(
    "weights",
    [Identity(5, keys=7), SameLabel(torch.arange(5) % 2, torch.arange(7) % 3), Similarity(draw(5, 2), draw(7, 2))],
)
def test_pairs_equal_their_dense_matrix_on_both_paths(weights, block_size):
    queries, keys = draw(5, 4).requires_grad_(), draw(7, 4, seed=1).requires_grad_()
    written_out = weights.dense(queries)
    denominator = draw(5, 7, seed=2) > -0.5
    for normalize_rows in (True, False):
        options = {"denominator": denominator, "normalize_rows": normalize_rows, "temperature": 0.3}
        dense = weighted_info_nce(queries, keys, written_out, **options)
        blockwise = weighted_info_nce(queries, keys, weights, block_size=block_size, **options)
        assert blockwise.item() == pytest.approx(dense.item(), rel=1e-12)
        for one, other in zip(
            torch.autograd.grad(dense, (queries, keys)), torch.autograd.grad(blockwise, (queries, keys)), strict=True
        ):
            assert torch.allclose(one, other, atol=1e-12)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    rows=st.integers(0, 7),
    columns=st.integers(1, 7),
    seed=st.integers(0, 2**20),
    weights=st.sampled_from(["labels", "similarity", "sparse", "mask"]),
    denominator=st.sampled_from(["all", "labels", "other labels", "sparse", "mask"]),
    normalize_rows=st.booleans(),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 1e4]),
    block_size=st.integers(1, 8),
)
def test_both_paths_equal_the_loop_for_any_shapes_and_pairs(
    rows, columns, seed, weights, denominator, normalize_rows, scale, block_size
):
    queries, keys = (
        (scale * draw(rows, 3, seed=seed)).requires_grad_(),
        draw(columns, 3, seed=seed + 1).requires_grad_(),
    )
    labels, key_labels = (draw(count, seed=seed + 2).mul(2).long() for count in (rows, columns))
    numbers = draw(rows, columns, seed=seed + 3).clamp(min=0)
    kinds = {
        "all": None,
        "labels": SameLabel(labels, key_labels),
        "other labels": SameLabel(labels, key_labels).complement(),
        "similarity": Similarity(draw(rows, 2, seed=seed), draw(columns, 2, seed=seed + 1)),
        "sparse": numbers if bool(numbers.any()) else None,  # all zero is an error
        "mask": numbers > 0,
    }
    given_weights = numbers > 0 if kinds[weights] is None else kinds[weights]
    options = {"denominator": kinds[denominator], "normalize_rows": normalize_rows, "temperature": 0.4}
    results = []
    for size in (None, block_size):
        loss = weighted_info_nce(queries, keys, given_weights, block_size=size, **options)
        gradients = torch.autograd.grad(loss, (queries, keys))
        assert math.isfinite(loss.item()) and all(bool(gradient.isfinite().all()) for gradient in gradients)
        results.append((loss, *gradients))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-10)
    if scale:
        matrices = [
            torch.ones(rows, columns)
            if pairs is None
            else pairs
            if isinstance(pairs, torch.Tensor)
            else pairs.dense(keys)
            for pairs in (given_weights, kinds[denominator])
        ]
        counts = [bool(row.any()) for row in matrices[1]]  # a row without compared keys counts 0
        w, n = (matrix.double()[counts] for matrix in matrices)
        expected = slow(queries.detach()[counts], keys.detach(), w, n, 0.4, normalize_rows) if w.any() else 0.0
        assert results[0][0].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_default_block_size_is_correct_at_its_boundaries():
    """Covers the sizes at which the path changes, and incomplete tiles."""
    for rows, columns in ((512, 512), (513, 512), (512, 513), (1025, 3), (2, 1100)):
        queries, keys = draw(rows, 3).requires_grad_(), draw(columns, 3, seed=1)
        weights = SameLabel(torch.arange(rows) % 7, torch.arange(columns) % 7)
        dense = weighted_info_nce(queries, keys, weights, block_size=2000)
        loss = weighted_info_nce(queries, keys, weights)
        assert loss.item() == pytest.approx(dense.item(), rel=1e-12)
        one, other = (torch.autograd.grad(value, queries)[0] for value in (loss, dense))
        assert torch.allclose(one, other, atol=1e-12)


def test_without_normalization_lengths_count():
    queries, keys = draw(5, 3), draw(5, 3, seed=1)
    expected = cross_entropy(queries @ keys.T / 2, torch.arange(5))
    loss = weighted_info_nce(queries, keys, Identity(5), temperature=2.0, normalize=False)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_invalid_weights_and_shapes_are_an_error():
    a, ones = torch.ones(2, 3), torch.ones(2, 2)
    with pytest.raises(InputError, match="weights .*-1.0"):
        weighted_info_nce(a, a, ones - 2 * torch.eye(2))
    with pytest.raises(InputError, match=r"weights \(2, 2\)"):
        weighted_info_nce(a, a, torch.zeros(2, 2))
    with pytest.raises(InputError, match="denominator .*-1.0"):
        weighted_info_nce(a, a, ones, denominator=-ones)
    with pytest.raises(ShapeError, match=r"denominator .*\(2, 3\).*\(2, 2\)"):
        weighted_info_nce(a, a, ones, denominator=torch.ones(2, 3))
    with pytest.raises(ShapeError, match=r"coefficient .*\(3,\).*\(2,\)"):
        weighted_info_nce(a, a, ones, coefficient=torch.ones(3))
    with pytest.raises(ShapeError, match=r"extra_keys .*\(2, 3\)"):
        weighted_info_nce(a, a, ones, extra_keys=a)


@pytest.mark.parametrize("block_size", [None, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int32, torch.uint8, torch.uint16])
def test_weights_may_have_any_dtype(dtype, block_size):
    queries, keys = draw(5, 4, dtype=torch.float32), draw(7, 4, seed=1, dtype=torch.float32)
    weights = draw(5, 7, seed=2).abs().mul(4).round()
    exact = weighted_info_nce(queries.double(), keys.double(), weights, denominator=weights)
    loss = weighted_info_nce(queries, keys, weights.to(dtype), denominator=weights.to(dtype), block_size=block_size)
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_query_with_only_opposite_features_has_no_weight(dtype):
    """Its weights are rounding noise around 0."""
    features = draw(3, 5, dtype=dtype)
    weights = Similarity(features[:1], -features[:1].repeat(4, 1) * torch.tensor([[1.0], [2.0], [3.0], [0.7]]))
    assert weighted_info_nce(features[:1], draw(4, 5, seed=1, dtype=dtype), weights).item() == 0


def test_weights_and_factors_that_are_not_finite_numbers_are_an_error():
    a = torch.ones(2, 3)
    for weights in ([[1.0, 1.0]], None, torch.ones(2, 2).cfloat()):
        with pytest.raises(InputError, match="weights"):
            weighted_info_nce(a, a, weights)
    for value in (math.nan, math.inf, 1e30):
        with pytest.raises(InputError, match="weights"):
            weighted_info_nce(a, a, torch.full((2, 2), value))
    bad = torch.tensor([1.0, math.nan])
    with pytest.raises(InputError, match="coefficient: row 1"):
        weighted_info_nce(a, a, torch.ones(2, 2), coefficient=bad)
    with pytest.raises(InputError, match="factors: row 1"):
        Identity(2).scaled(bad)
    with pytest.raises(InputError, match="extra_keys: row 0"):
        weighted_info_nce(a, a, torch.ones(2, 2), extra_keys=torch.full((2, 1, 3), math.nan))
    with pytest.raises(InputError, match="not normalized"):
        weighted_info_nce(1e30 * a, 1e30 * a, torch.ones(2, 2), normalize=False)


def test_weights_without_a_finite_reciprocal_count_0():
    a, tiny = draw(2, 3, dtype=torch.float32), torch.tensor([[1e-42, 1e-43], [1.0, 0.5]])
    loss, alone = weighted_info_nce(a, a, tiny), weighted_info_nce(a, a, tiny * torch.tensor([[0.0], [1.0]]))
    assert math.isfinite(loss.item()) and math.isfinite(alone.item())

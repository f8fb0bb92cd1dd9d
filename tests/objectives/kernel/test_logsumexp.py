import pytest
import torch

from mmcl.errors import TrainingError
from mmcl.objectives import Identity, SameLabel, Similarity
from mmcl.objectives.kernel.logsumexp import pairwise_logsumexp

LABELS = torch.tensor([0, 1, 1, 5, 0, 2, 2])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(queries, keys, counts):
    s = queries @ keys.T + counts.double().log()
    return s.exp().sum(1).log(), s.exp().sum(0).log()


@pytest.mark.parametrize("block_size", [None, 1, 2, 3])
@pytest.mark.parametrize("rule", ["all", "matrix", "mask", "labels", "similarity"])
def test_equals_the_plain_sum(rule, block_size):
    queries, keys = draw(7, 4), draw(5, 4, seed=1)
    weights = draw(7, 5, seed=2).clamp(min=0)
    weights[3], weights[:, 1] = 0, 0  # a query and a key without compared pairs
    compared, counts = {
        "all": (None, torch.ones(7, 5)),
        "matrix": (weights, weights),
        "mask": (weights > 0, weights > 0),
        "labels": (SameLabel(LABELS, LABELS[:5]), LABELS[:, None] == LABELS[:5]),
        "similarity": (Similarity(queries, keys), Similarity(queries, keys).dense(queries)),
    }[rule]
    rows, columns, _ = pairwise_logsumexp(queries, keys, compared, columns=True, block_size=block_size)
    expected = slow(queries, keys, counts)
    assert torch.allclose(rows, expected[0]) and torch.allclose(columns, expected[1])


@pytest.mark.parametrize("block_size", [None, 1, 2, 3, 4])
@pytest.mark.parametrize(
    "compared",
    [
        None,
        Identity(7, shift=1),
        Identity(7).complement(),
        SameLabel(LABELS),
        SameLabel(LABELS).complement(),
        LABELS > 1,
    ],
)
def test_queries_as_keys_have_the_gradients_of_two_sides(compared, block_size):
    if isinstance(compared, torch.Tensor):
        compared = compared.expand(7, 7)  # a matrix that is not symmetric
    one, factors = draw(7, 4).requires_grad_(), draw(7, seed=3)

    def value(queries, keys, size):
        rows, _, _ = pairwise_logsumexp(queries, keys, compared, block_size=size)
        return rows.masked_fill(rows.isneginf(), 0) @ factors

    of_itself = torch.autograd.grad(value(one, one, block_size), one)[0]
    both = torch.autograd.grad(value(one, one.clone(), None), one)[0]
    assert torch.allclose(of_itself, both, atol=1e-12)
    if block_size == 2:
        assert torch.autograd.gradcheck(lambda z: value(z, z, 2), one)


@pytest.mark.parametrize("block_size", [None, 2])
def test_large_differences_neither_overflow_nor_underflow(block_size):
    queries = torch.tensor([[1000.0], [-1000.0], [0.0], [1e-3], [5.0]]).requires_grad_()
    keys = torch.tensor([[1.0], [-1.0], [0.5], [0.0]])
    rows, columns, _ = pairwise_logsumexp(queries, keys, columns=True, block_size=block_size)
    assert torch.allclose(rows, (queries @ keys.T).logsumexp(1)) and torch.allclose(columns[:2], torch.tensor(1000.0))
    assert bool(torch.autograd.grad(rows.sum() + columns.sum(), queries)[0].isfinite().all())


def test_a_frozen_side_gets_no_gradient():
    queries, keys = draw(5, 3).requires_grad_(), draw(6, 3, seed=1)
    rows, _, _ = pairwise_logsumexp(queries, keys, block_size=2)
    rows.sum().backward()
    assert queries.grad is not None and keys.grad is None
    swapped, _, _ = pairwise_logsumexp(keys, queries, block_size=2)
    assert torch.autograd.gradcheck(lambda k: pairwise_logsumexp(keys, k, block_size=2)[0], queries)
    assert swapped.requires_grad


def test_empty_sides():
    none, keys = torch.zeros(0, 3, requires_grad=True), draw(4, 3)
    for block_size in (None, 2):
        rows, columns, _ = pairwise_logsumexp(none.double(), keys, columns=True, block_size=block_size)
        assert rows.shape == (0,) and bool(columns.isneginf().all())
        rows, _, _ = pairwise_logsumexp(keys, none.double(), block_size=block_size)
        assert bool(rows.isneginf().all())


def test_the_operator_passes_the_checks_of_torch():
    queries, keys = draw(5, 3).requires_grad_(), draw(4, 3, seed=1).requires_grad_()
    operator = torch.ops.mmcl.pairwise_logsumexp.default
    differ, halves = torch.tensor([True, False, True, True]), (None,) * 4
    for arguments in (
        (queries, keys, None, None, None, None, *halves, True, -1, 2),
        (keys, queries, None, None, None, None, *halves, True, 1, 2),
        (queries, keys, torch.arange(5), torch.arange(4), differ, None, *halves, False, -1, 2),
        (queries, None, None, None, None, None, *halves, False, -1, 2),
    ):
        torch.library.opcheck(operator, arguments)


def test_a_second_derivative_is_an_error_if_blockwise_and_correct_if_dense():
    queries, keys = draw(4, 3).requires_grad_(), draw(4, 3, seed=1)
    assert torch.autograd.gradgradcheck(lambda q: pairwise_logsumexp(q, keys)[0], queries)
    with pytest.raises(TrainingError, match="create_graph=True"):
        torch.autograd.grad(pairwise_logsumexp(queries, keys, block_size=2)[0].sum(), queries, create_graph=True)


@pytest.mark.parametrize("block_size", [None, 1, 2, 3])
def test_the_diagonal_has_correct_gradients(block_size):
    queries, keys, factors = draw(4, 3).requires_grad_(), draw(7, 3, seed=1).requires_grad_(), draw(4, seed=2)
    for place in (0, 2, 3):
        _, _, own = pairwise_logsumexp(queries, keys, columns=True, diagonal=place, block_size=block_size)
        expected = (queries @ keys.T).diagonal(place)[:4]
        assert torch.allclose(own, expected)
        for one, other in zip(
            torch.autograd.grad(own @ factors, (queries, keys)),
            torch.autograd.grad(expected @ factors, (queries, keys)),
            strict=True,
        ):
            assert torch.allclose(one, other)

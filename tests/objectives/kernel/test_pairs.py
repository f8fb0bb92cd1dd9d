import pytest
import torch

from mmcl.errors import ConfigError, InputError, LabelError, ShapeError
from mmcl.objectives import Dense, Identity, Mixed, SameLabel, Similarity
from mmcl.objectives.kernel.gather import Processes

LIKE = torch.zeros(1, dtype=torch.float64)
LABELS, KEY_LABELS = torch.tensor([3, 0, 3, 9]), torch.tensor([0, 3, 5, 3, 3])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(rule, rows, columns):
    """Return W computed from its definition, one entry at a time."""
    return torch.tensor([[float(rule(i, j)) for j in range(columns)] for i in range(rows)], dtype=torch.float64)


FEATURES, KEY_FEATURES = draw(4, 3), draw(5, 3, seed=1)
PERMUTATION, LAM = torch.tensor([2, 0, 1, 3]), torch.tensor([0.25, 1.0, 0.0, 0.5], dtype=torch.float64)
DIFFER = torch.tensor([True, False, True, True, False])


def cosine(i, j):
    return (1 + torch.cosine_similarity(FEATURES[i], KEY_FEATURES[j], dim=0)) / 2


KINDS = {
    "identity": (Identity(4), lambda i, j: i == j, 4),
    "identity, shifted": (Identity(4, shift=2), lambda i, j: (i + 2) % 4 == j, 4),
    "identity, complement": (Identity(4).complement(), lambda i, j: i != j, 4),
    "identity, of many keys": (Identity(4, offset=3, keys=9), lambda i, j: i + 3 == j, 9),
    "same label": (SameLabel(LABELS, KEY_LABELS), lambda i, j: LABELS[i] == KEY_LABELS[j], 5),
    "same label, of one set": (SameLabel(LABELS), lambda i, j: LABELS[i] == LABELS[j], 4),
    "same label, others": (SameLabel(LABELS, exclude_self=True), lambda i, j: i != j and LABELS[i] == LABELS[j], 4),
    "same label, complement": (SameLabel(LABELS, KEY_LABELS).complement(), lambda i, j: LABELS[i] != KEY_LABELS[j], 5),
    "same label, some differ": (
        SameLabel(LABELS, KEY_LABELS, differ=DIFFER),
        lambda i, j: (LABELS[i] == KEY_LABELS[j]) != DIFFER[j],
        5,
    ),
    "similarity": (Similarity(FEATURES, KEY_FEATURES), cosine, 5),
    "mixed": (Mixed(PERMUTATION, LAM), lambda i, j: LAM[i] * (i == j) + (1 - LAM[i]) * (PERMUTATION[i] == j), 4),
    "dense": (Dense(draw(4, 5).abs()), lambda i, j: draw(4, 5).abs()[i, j], 5),
    "scaled": (
        SameLabel(LABELS, KEY_LABELS).scaled(LAM),
        lambda i, j: LAM[i] * (LABELS[i] == KEY_LABELS[j]),
        5,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_all_methods_agree_with_the_dense_matrix(kind):
    pairs, rule, columns = KINDS[kind]
    expected = matrix(rule, 4, columns)
    queries, keys = draw(4, 6, seed=2), draw(columns, 6, seed=3)
    assert pairs.shape == (4, columns)
    assert torch.allclose(pairs.dense(LIKE), expected)
    assert torch.allclose(pairs.matmul(keys), expected @ keys)
    assert torch.allclose(pairs.transposed_matmul(queries), expected.T @ queries)
    assert torch.allclose(pairs.row_sums(LIKE), expected.sum(1))
    assert torch.allclose(pairs.column_sums(LIKE), expected.sum(0))
    similarities = queries @ keys.T
    for given in (None, similarities):
        assert torch.allclose(pairs.row_dots(queries, keys, given), (expected * similarities).sum(1))
        assert torch.allclose(pairs.column_dots(queries, keys, given), (expected * similarities).sum(0))
    assert pairs.row_sums(torch.zeros(1)).dtype == torch.float32


def test_the_identity_as_labels_is_the_same_matrix():
    for pairs in (Identity(3), Identity(3).complement(), Identity(4, shift=1), Identity(2, offset=1, keys=5)):
        assert torch.equal(pairs.labelled(LIKE.device).dense(LIKE), pairs.dense(LIKE))


def test_gathered_pairs_this_process_s_rows_with_the_keys_of_all():
    processes = Processes((2, 3), rank=1)
    assert torch.equal(Identity(3).gathered(processes).dense(LIKE), torch.eye(5, dtype=torch.float64)[2:])
    gathered = Mixed(torch.tensor([1, 2, 0]), torch.full((3,), 0.5)).gathered(processes).dense(LIKE)
    assert gathered[:, :2].sum() == 0 and torch.equal(gathered[0, 2:], torch.tensor([0.5, 0.5, 0.0]).double())


def test_the_weights_pass_gradients_to_their_features():
    features, lam = draw(4, 3).requires_grad_(), torch.rand(4, dtype=torch.float64).requires_grad_()
    keys = draw(4, 2, seed=1)
    assert torch.autograd.gradcheck(lambda f: Similarity(f).matmul(keys), features)
    assert torch.autograd.gradcheck(lambda share: Mixed(PERMUTATION, share).matmul(keys), lam, eps=1e-8, atol=1e-4)


def test_invalid_weights_are_an_error():
    with pytest.raises(InputError, match="weights .*-1.0 .*2.0"):
        Dense(torch.tensor([[-1.0, 2.0]]))
    with pytest.raises(InputError, match="weights"):
        Dense(torch.tensor([[float("nan"), 2.0]]))
    with pytest.raises(InputError, match=r"weights \(2, 3\)"):
        Dense(torch.zeros(2, 3))
    assert Dense(torch.zeros(2, 3, dtype=torch.bool)).shape == (2, 3)  # a mask may have no pairs
    with pytest.raises(ShapeError, match=r"expected \(queries, keys\)"):
        Dense(torch.ones(3))


def test_invalid_labels_are_an_error():
    with pytest.raises(LabelError, match="integers"):
        SameLabel(torch.ones(3))
    with pytest.raises(ShapeError, match="labels has shape"):
        SameLabel(torch.ones(3, 1, dtype=torch.long))
    with pytest.raises(ConfigError, match="exclude_self"):
        SameLabel(LABELS, KEY_LABELS, exclude_self=True)
    with pytest.raises(ConfigError, match="complement"):
        SameLabel(LABELS, exclude_self=True).complement()

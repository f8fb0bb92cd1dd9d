import pytest
import torch

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.retrieval import ranks, retrieval


def embedded(rows, dim=6, seed=0):
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_ranks(queries, keys, targets):
    found = []
    for query, target in zip(queries, targets, strict=True):
        cosines = [float(query @ key / (query.norm() * key.norm())) for key in keys]
        found.append(1 + sum(c > cosines[target] for c in cosines))
    return found


@pytest.mark.parametrize("rows", [1, 7, 1500])  # the last exceeds one block
def test_ranks_are_those_of_a_slow_loop(rows):
    queries, keys = embedded(rows), embedded(40, seed=1)
    targets = torch.arange(rows) % 40
    assert ranks(queries, keys, targets).tolist() == slow_ranks(queries, keys, targets.tolist())


def test_collapsed_embeddings_rank_last():
    assert ranks(torch.ones(5, 3), torch.ones(5, 3)).tolist() == [5] * 5


def test_retrieval_by_hand():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 0.2]])
    keys = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, -1.0]])
    result = retrieval(queries, keys, at=(1, 2, 3))  # ranks 1, 1, 3, 3
    assert result.recall == {1: 0.5, 2: 0.5, 3: 1.0} and result.mean_rank == 2.0 and result.median_rank == 2.0


def test_queries_may_share_a_target():
    keys = torch.eye(3)
    assert retrieval(torch.eye(3)[[1, 1, 2]], keys, torch.tensor([1, 1, 0]), at=(1,)).recall[1] == pytest.approx(2 / 3)


def test_invalid_inputs_raise():
    with pytest.raises(ShapeError, match=r"queries have shape \(2, 3\) and keys \(2, 4\)"):
        ranks(torch.ones(2, 3), torch.ones(2, 4))
    with pytest.raises(ShapeError, match="targets have shape"):
        ranks(torch.ones(2, 3), torch.ones(2, 3), torch.zeros(3, dtype=torch.long))
    with pytest.raises(InputError, match="targets are 0 to 2, expected 0 to 1"):
        ranks(torch.ones(2, 3), torch.ones(2, 3), torch.tensor([0, 2]))
    with pytest.raises(InputError, match="not finite"):
        ranks(torch.full((2, 3), float("nan")), torch.ones(2, 3))
    with pytest.raises(ShapeError, match="0 queries"):
        retrieval(torch.ones(0, 3), torch.ones(2, 3), torch.zeros(0, dtype=torch.long))


@pytest.mark.parametrize("scale", [1e-13, 1e-30, 1e-42, 1e20, 1e37])
def test_norms_do_not_matter(scale):
    queries, keys = (torch.randn(9, 5, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    expected = ranks(queries, keys)
    if scale > 1e-40:  # without loss of digits
        assert torch.equal(ranks(scale * queries, keys), expected)
        assert torch.equal(ranks(queries, scale * keys), expected)
    eye = torch.eye(5) * scale
    assert ranks(eye, torch.eye(5)).tolist() == ranks(torch.eye(5), eye).tolist() == [1] * 5

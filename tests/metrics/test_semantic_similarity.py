import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from torch.nn.functional import cosine_similarity

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.semantic_similarity import semantic_similarity


def test_correlations_are_those_of_cosines():
    torch.manual_seed(0)
    first, second, scores = torch.randn(30, 4), torch.randn(30, 4), torch.rand(30).tolist()
    cosines = cosine_similarity(first, second)
    found = semantic_similarity(first, second, scores)
    assert found["Spearman"] == pytest.approx(spearmanr(cosines, scores)[0])
    assert found["Pearson"] == pytest.approx(pearsonr(cosines, scores)[0], abs=1e-6)


def test_collapsed_embeddings_have_no_correlation():
    assert semantic_similarity(torch.ones(3, 2), torch.ones(3, 2), [1, 2, 3]) == {"Spearman": 0.0, "Pearson": 0.0}


@pytest.mark.parametrize(
    ("first", "scores", "error"),
    [
        (torch.ones(3, 2), [1, 2], ShapeError),
        (torch.ones(1, 2), [1], ShapeError),
        (torch.full((2, 2), torch.nan), [1, 2], InputError),
        (torch.ones(2, 2), [1, float("nan")], InputError),
    ],
)
def test_unusable_pairs_are_refused(first, scores, error):
    with pytest.raises(error):
        semantic_similarity(first, first, scores)

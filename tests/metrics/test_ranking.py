from math import log2

import pytest
import torch
from sklearn.metrics import roc_auc_score

from mmcl.errors import InputError, ShapeError
from mmcl.metrics.ranking import cosine_scores, pooled_auc, rank_documents, ranking_measures, retrieval_calibration


def fixed(matrix):
    return lambda start, end: torch.tensor(matrix)[start:end]


def drawn(queries=7, documents=40, seed=0):
    """Random scores, and two relevant documents and one judged otherwise for each query."""
    torch.manual_seed(seed)
    judgements = [
        {int(document): gain for document, gain in zip(torch.randperm(documents)[:3], (4, 1, 0), strict=True)}
        for _ in range(queries)
    ]
    scores = torch.randn(queries, documents)
    for row, own in enumerate(judgements):
        for document, gain in own.items():
            scores[row, document] += gain
    return scores, judgements


def slow_measures(scores, judgements, at=10, recall_at=20):
    ndcg, mrr, recall = [], [], []
    for row, own in zip(scores, judgements, strict=True):
        order = row.argsort(descending=True).tolist()
        gains = [own.get(each, 0) for each in order]
        best = sorted(own.values(), reverse=True)
        discounted = [sum(g / log2(place + 2) for place, g in enumerate(each[:at])) for each in (gains, best)]
        ndcg.append(discounted[0] / discounted[1])
        mrr.append(next((1 / (place + 1) for place, gain in enumerate(gains[:at]) if gain), 0.0))
        recall.append(sum(gain > 0 for gain in gains[:recall_at]) / sum(gain > 0 for gain in best))
    return [sum(each) / len(each) for each in (ndcg, mrr, recall)]


def test_measures_equal_slow_ones_in_blocks_of_any_size():
    scores, judgements = drawn()
    for block in (1, 3, 256):
        ranked = rank_documents(lambda start, end: scores[start:end], judgements, block=block)
        found = ranking_measures(ranked, judgements, recall_at=20)
        assert list(found) == ["nDCG@10", "MRR@10", "Recall@20"]
        assert list(found.values()) == pytest.approx(slow_measures(scores, judgements))


def test_auc_pools_all_queries_and_keeps_the_best_others_of_each():
    scores, judgements = drawn()
    positive = torch.zeros(scores.shape, dtype=torch.bool)
    for row, own in enumerate(judgements):
        positive[row, [document for document, gain in own.items() if gain]] = True
    every = rank_documents(lambda start, end: scores[start:end], judgements, negatives=None, block=2)
    assert pooled_auc(every) == pytest.approx(roc_auc_score(positive.flatten(), scores.flatten()))
    few = rank_documents(lambda start, end: scores[start:end], judgements, negatives=5)
    best = scores.masked_fill(positive, -torch.inf).topk(5).values.flatten()
    labels = [1] * int(positive.sum()) + [0] * len(best)
    assert pooled_auc(few) == pytest.approx(roc_auc_score(labels, torch.cat([scores[positive], best])))


def test_auc_falls_if_the_scale_of_scores_differs_between_queries_and_rankings_do_not():
    matrix, judgements = [[2.0, 1.0], [0.5, 0.2]], [{0: 1}, {0: 1}]
    ranked = rank_documents(fixed(matrix), judgements)
    assert ranking_measures(ranked, judgements)["MRR@10"] == 1 and pooled_auc(ranked) == 0.75


def test_calibration_is_fitted_on_other_queries():
    valid, test = drawn(60, seed=1), drawn(60, seed=2)
    (known, own), (scores, judgements) = valid, test
    fitted = rank_documents(lambda start, end: known[start:end], own)
    good = retrieval_calibration(
        fitted, own, rank_documents(lambda start, end: scores[start:end], judgements), judgements
    )
    shifted = rank_documents(lambda start, end: scores[start:end] + 3, judgements)
    assert good < 0.1 < retrieval_calibration(fitted, own, shifted, judgements)
    scaled = (
        rank_documents(lambda start, end: 20 * known[start:end] - 5, own),
        rank_documents(lambda a, b: 20 * scores[a:b] - 5, judgements),
    )
    assert retrieval_calibration(scaled[0], own, scaled[1], judgements) == pytest.approx(good, abs=1e-4)


@pytest.mark.parametrize(
    ("matrix", "judgements", "error", "words"),
    [
        ([[1.0, 2.0]], [], ShapeError, "0 queries"),
        ([[1.0, 2.0]], [{0: 1}, {0: 1}], ShapeError, "2 queries"),
        ([[]], [{0: 1}], ShapeError, "1, 0"),
        ([[1.0, float("nan")]], [{0: 1}], InputError, "not finite"),
        ([[1.0, 2.0]], [{2: 1}], InputError, "document 2"),
    ],
)
def test_unusable_scores_are_refused(matrix, judgements, error, words):
    with pytest.raises(error, match=words):
        rank_documents(fixed(matrix), judgements)


def test_unusable_embeddings_and_rankings_are_refused():
    with pytest.raises(ShapeError, match="2, 3"):
        cosine_scores(torch.ones(1, 2), torch.ones(2, 3))
    with pytest.raises(InputError, match="not finite"):
        cosine_scores(torch.ones(1, 2), torch.tensor([[1.0, torch.inf]]))
    ranked = rank_documents(fixed([[1.0, 2.0]]), [{0: 1, 1: 1}])
    with pytest.raises(InputError, match="other documents"):
        pooled_auc(ranked)
    with pytest.raises(ShapeError, match="1 queries are ranked and 2"):
        ranking_measures(ranked, [{0: 1}, {0: 1}])

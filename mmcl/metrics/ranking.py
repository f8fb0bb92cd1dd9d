"""Ranked retrieval with judgements: nDCG, MRR, recall, pooled AUC and calibration.

Scores are computed for a block of queries at a time, so no matrix of all queries and documents is in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias, get_type_hints

import torch
from torch import Tensor

from mmcl.arguments import takes_tensors
from mmcl.config.whole_numbers import whole_numbers
from mmcl.errors import InputError, ShapeError
from mmcl.metrics.calibration import expected_calibration_error
from mmcl.metrics.scaling import fit_platt
from mmcl.objectives.kernel.unit import directions

Judgements: TypeAlias = Sequence[Mapping[int, int]]  #: gain of the judged documents of each query; relevant above 0
#: function from the first and the last query (exclusive) of a block to scores ``(queries, documents)``
Scores: TypeAlias = Callable[[int, int], Tensor]

_BLOCK = 256  # queries


class Ranked(NamedTuple):
    """What is kept of the scores of all queries.

    Attributes:
        documents: best documents of each query, best first, ``(queries, kept)``.
        scores: their scores, ``(queries, kept)``.
        positives: scores of all pairs of a query and a relevant document.
        negatives: scores of the best other documents of each query.
    """

    documents: Tensor
    scores: Tensor
    positives: Tensor
    negatives: Tensor


Ranked.__annotations__.update(get_type_hints(Ranked))  # documentation tools cannot resolve the names


@takes_tensors
def cosine_scores(queries: Tensor, documents: Tensor) -> Scores:
    """Return the function that computes cosines of queries ``(queries, dim)`` and documents ``(documents, dim)``.

    Raises:
        ShapeError: shapes do not match.
        InputError: embeddings are not finite.
    """
    if queries.dim() != 2 or documents.dim() != 2 or queries.shape[1] != documents.shape[1]:
        raise ShapeError(
            f"queries have shape {tuple(queries.shape)} and documents {tuple(documents.shape)}, expected (queries, "
            "dim) and (documents, dim)"
        )
    if not (queries.isfinite().all() and documents.isfinite().all()):
        raise InputError("embeddings are not finite, expected numbers: check the model that computed them")
    queries, documents = directions(queries), directions(documents)
    return lambda start, end: queries[start:end] @ documents.T


def rank_documents(
    scores: Scores, judgements: Judgements, *, keep: int = 100, negatives: int | None = 500, block: int = _BLOCK
) -> Ranked:
    """Rank the documents of each query.

    Args:
        scores: see :data:`Scores`.
        judgements: see :data:`Judgements`; one for each query.
        keep: number of best documents to keep of each query.
        negatives: number of other documents to keep of each query, the best ones; None for all.
        block: number of queries to score at a time.

    Raises:
        ShapeError: there are no queries, or the shape of the scores is not ``(queries, documents)``.
        InputError: a score is not finite, or a judged document is out of range.

    >>> ranked = rank_documents(cosine_scores(torch.eye(2), torch.eye(2)), [{0: 1}, {0: 2}])
    >>> ranked.documents.tolist(), ranked.positives.tolist(), ranked.negatives.tolist()
    ([[0, 1], [1, 0]], [1.0, 0.0], [0.0, 1.0])
    """
    (keep,) = whole_numbers((keep,), "keep")
    if not judgements:
        raise ShapeError("there are 0 queries, expected at least 1")
    parts: list[Ranked] = []
    for start in range(0, len(judgements), block):
        own = judgements[start : start + block]
        found = scores(start, start + len(own))
        if found.dim() != 2 or len(found) != len(own) or not found.shape[1]:
            raise ShapeError(f"scores of {len(own)} queries have shape {tuple(found.shape)}, expected one row for each")
        if not found.isfinite().all():
            raise InputError("scores are not finite, expected numbers: check the model that computed them")
        parts.append(_ranked(found, own, keep, negatives))
    return Ranked(*(torch.cat(each) for each in zip(*parts, strict=True)))


def _ranked(scores: Tensor, judgements: Judgements, keep: int, negatives: int | None) -> Ranked:
    count = scores.shape[1]
    pairs = [(row, document) for row, own in enumerate(judgements) for document, gain in own.items() if gain > 0]
    if outside := [document for own in judgements for document in own if not 0 <= document < count]:
        raise InputError(f"document {outside[0]} is judged, expected 0 to {count - 1}")
    rows, columns = torch.tensor(pairs, dtype=torch.long).view(-1, 2).to(scores.device).unbind(1)
    best = scores.topk(min(keep, count), dim=1)
    others = scores.index_put((rows, columns), scores.new_tensor(-torch.inf))
    others = others.topk(count if negatives is None else min(negatives, count), dim=1).values
    return Ranked(best.indices, best.values, scores[rows, columns], others[others.isfinite()])


def ranking_measures(ranked: Ranked, judgements: Judgements, *, at: int = 10, recall_at: int = 100) -> dict[str, float]:
    """Return nDCG and MRR among the first ``at`` documents, and recall among the first ``recall_at``.

    Computed by ``ir_measures`` and averaged over queries. The gain of nDCG is that of the judgements.

    Args:
        ranked: result of :func:`rank_documents` that keeps at least ``recall_at`` documents.
        judgements: as for :func:`rank_documents`.
        at: rank of nDCG and MRR.
        recall_at: rank of recall.

    Raises:
        ShapeError: the numbers of queries differ.

    >>> shelf = [{0: 1}, {0: 2}]
    >>> measures = ranking_measures(rank_documents(cosine_scores(torch.eye(2), torch.eye(2)), shelf), shelf)
    >>> {name: round(value, 3) for name, value in measures.items()}  # the second query has its document at rank 2
    {'nDCG@10': 0.815, 'MRR@10': 0.75, 'Recall@100': 1.0}
    """
    import ir_measures

    if len(ranked.documents) != len(judgements):
        raise ShapeError(f"{len(ranked.documents)} queries are ranked and {len(judgements)} judged, expected as many")
    names = {
        f"nDCG@{at}": ir_measures.nDCG @ at,
        f"MRR@{at}": ir_measures.RR @ at,
        f"Recall@{recall_at}": ir_measures.R @ recall_at,
    }
    judged = {str(query): {str(each): gain for each, gain in own.items()} for query, own in enumerate(judgements)}
    run = {  # scores that follow the order, so that equal scores keep it
        str(query): {str(each): float(-place) for place, each in enumerate(own)}
        for query, own in enumerate(ranked.documents.tolist())
    }
    found = ir_measures.calc_aggregate(names.values(), judged, run)
    return {name: float(found[measure]) for name, measure in names.items()}


def pooled_auc(ranked: Ranked) -> float:
    """Return the area under the ROC curve of relevant against other documents, pooled over all queries.

    It is 1 if one threshold separates the relevant pairs of all queries from the others, which nDCG and MRR do not
    measure. Following Sheikholeslami et al. (arXiv 2510.00137), the 500 best other documents of each query count, see
    ``negatives`` of :func:`rank_documents`.

    Raises:
        InputError: every document is relevant.

    >>> pooled_auc(rank_documents(cosine_scores(torch.eye(2), torch.eye(2)), [{0: 1}, {1: 1}]))
    1.0
    """
    from sklearn.metrics import roc_auc_score

    if not len(ranked.positives) or not len(ranked.negatives):
        raise InputError("there are no other documents, expected some that are not relevant: add documents")
    labels = [1] * len(ranked.positives) + [0] * len(ranked.negatives)
    return float(roc_auc_score(labels, torch.cat([ranked.positives, ranked.negatives]).cpu().numpy()))


def retrieval_calibration(
    fitted: Ranked, fitted_judgements: Judgements, ranked: Ranked, judgements: Judgements, *, at: int = 10
) -> float:
    """Return the expected calibration error of the probability that a retrieved document is relevant.

    Scores become probabilities by Platt scaling, with one slope and intercept for all queries. These are fitted on
    other queries. The documents are the first ``at`` of each query, which a user sees.

    Args:
        fitted, fitted_judgements: validation queries to fit the scaling on.
        ranked, judgements: queries to measure.
        at: number of documents of each query.

    >>> scores = cosine_scores(torch.eye(2), torch.eye(2))
    >>> shelf = [{0: 1}, {1: 1}]
    >>> ranked = rank_documents(scores, shelf)
    >>> round(retrieval_calibration(ranked, shelf, ranked, shelf), 2)  # Platt's targets are 3/4 and 1/4 here
    0.25
    """
    known, correct = _first(fitted, fitted_judgements, at)
    mean, scale = known.mean(), known.std(correction=0).clamp(min=1e-12)
    slope, intercept = fit_platt(((known - mean) / scale).sigmoid(), correct)
    own, hits = _first(ranked, judgements, at)
    return expected_calibration_error((slope * (own - mean) / scale + intercept).sigmoid(), hits)


def _first(ranked: Ranked, judgements: Judgements, at: int) -> tuple[Tensor, Tensor]:
    """Return the scores of the first documents of each query, and whether they are relevant."""
    documents = ranked.documents[:, :at].tolist()
    hits = [own.get(each, 0) > 0 for own, row in zip(judgements, documents, strict=True) for each in row]
    scores = ranked.scores[:, :at].double().cpu().flatten()
    return scores, torch.tensor(hits)

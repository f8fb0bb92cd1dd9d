"""Measures of text embeddings: semantic similarity of graded pairs, and retrieval from collections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from mmcl.data.texts.collection import Collection, collection_of
from mmcl.data.texts.plain_texts import PlainTexts
from mmcl.data.texts.text_pairs import TextPairs
from mmcl.encoders.cache import cached_features
from mmcl.metrics.ranking import (
    Ranked,
    Scores,
    cosine_scores,
    pooled_auc,
    rank_documents,
    ranking_measures,
    retrieval_calibration,
)
from mmcl.metrics.semantic_similarity import semantic_similarity
from mmcl.models.bm25 import bm25_scores
from mmcl.models.two_tower import Tower, embed_rows
from mmcl.precision import Precision

#: name of the pooled AUC and of the calibration error among the measures
AUC, CALIBRATION = "pooled AUC", "calibration error"


def text_measures(
    tower: Tower,
    test: TextPairs,
    valid: TextPairs | None = None,
    *,
    negatives: int | None = 500,
    device: str = "cpu",
    precision: Precision = "32",
) -> dict[str, float]:
    """Measure a text tower on pairs: by semantic similarity if they have scores, else by retrieval.

    Pairs without scores that are not a :class:`~mmcl.data.Collection` are made one: queries search all passages.

    Args:
        tower: text tower.
        test: pairs to measure on.
        valid: pairs to fit the calibration of retrieval on; None to leave its error out.
        negatives: number of other documents of each query in the pooled AUC; None for all.
        device, precision: as in :func:`~mmcl.encoders.cached_features`.

    Returns:
        ``Spearman`` and ``Pearson``; or ``nDCG@10``, ``MRR@10``, ``Recall@100``, ``pooled AUC`` and ``calibration
        error``, see :mod:`mmcl.metrics.ranking`.
    """
    embed = partial(embedded_texts, tower, device=device, precision=precision)
    if test.scores is not None:
        both = embed([*test.first, *test.second])
        return semantic_similarity(both[: len(test)], both[len(test) :], test.scores)

    def scores(shelf: Collection) -> Scores:
        both = embed([*shelf.queries, *shelf.documents])
        return cosine_scores(both[: len(shelf.queries)], both[len(shelf.queries) :])

    return _retrieval_measures(scores, test, valid, negatives)


def word_measures(test: TextPairs, valid: TextPairs | None = None, *, negatives: int | None = 500) -> dict[str, float]:
    """Return the measures of retrieval by BM25; arguments and measures are those of :func:`text_measures`.

    Graded pairs have none, because BM25 scores are not symmetric.
    """
    if test.scores is not None:
        return {}
    return _retrieval_measures(lambda shelf: bm25_scores(shelf.queries, shelf.documents), test, valid, negatives)


def embedded_texts(
    tower: Tower, texts: Sequence[str], *, device: str = "cpu", precision: Precision = "32", batch_size: int = 64
) -> Tensor:
    """Return embeddings of texts, computed in evaluation mode, ``(texts, dim)``, not normalized.

    Equal texts are embedded once, and texts of similar length together.

    Args:
        tower: text tower.
        texts: one or more texts.
        device, precision: as in :func:`~mmcl.encoders.cached_features`.
        batch_size: texts per forward pass.
    """
    distinct = sorted(dict.fromkeys(texts), key=len)
    place = {text: row for row, text in enumerate(distinct)}
    data = cached_features(
        PlainTexts(distinct), tower.encoder, keep=tower.keep, device=device, precision=precision, progress=False
    )
    embedded = embed_rows(tower, data, batch_size=batch_size, device=device)
    return embedded[torch.tensor([place[text] for text in texts])]


def _retrieval_measures(
    scores: Callable[[Collection], Scores], test: TextPairs, valid: TextPairs | None, negatives: int | None
) -> dict[str, float]:
    def ranked(pairs: TextPairs) -> tuple[Ranked, Collection]:
        shelf = pairs if isinstance(pairs, Collection) else collection_of(pairs)
        return rank_documents(scores(shelf), shelf.judgements, negatives=negatives), shelf

    found, shelf = ranked(test)
    measures = {**ranking_measures(found, shelf.judgements), AUC: pooled_auc(found)}
    if valid is not None:
        known, other = ranked(valid)
        measures[CALIBRATION] = retrieval_calibration(known, other.judgements, found, shelf.judgements)
    return measures
